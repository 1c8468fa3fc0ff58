"""What became of every message, and who is told: counts, gaps, states, status key, metrics, heartbeat.

Begin with ``ledger``, whose counts must balance, and ``vitals``, which makes of the main loop's facts what is told.
It only looks: nothing here decides what happens to a tweet.
"""
