"""What a message is, which rules a tweet satisfies, and what is added to it.

Begin with ``matching``, which holds what Twitter's service did; ``fields`` reads a tweet, ``blocks`` makes what it
gains. Pure: nothing here knows a server, a clock or a file.
"""
