"""The subcommands, a file for each: parse what was typed, call a wing, show what it says.

Begin with ``console``, which they share. Nothing here decides anything: what a command does stands in its wing.
"""
