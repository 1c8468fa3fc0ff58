import signal
import sys

# While the rest is imported, which may take seconds, an end is one that was asked for.
before = {number: signal.signal(number, lambda *_: sys.exit(0)) for number in (signal.SIGTERM, signal.SIGINT)}

from traptor.cli import main  # noqa: E402

for number, handler in before.items():
    signal.signal(number, handler)

main()
