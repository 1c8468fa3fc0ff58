"""X API v2: its filtered stream as if it were v1.1's."""
