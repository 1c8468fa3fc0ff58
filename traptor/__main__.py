import signal
import sys

for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: sys.exit(0))  # while the rest is imported, which may take seconds

from traptor.cli import main  # noqa: E402

main()
