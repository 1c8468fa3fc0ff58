"""X API v2: rules on the server, its stream in v1.1's shape, and what it costs.

Begin with ``client``; ``rules`` translates ours, ``shape`` its tweets, ``budget`` counts them.
"""
