"""Error reports to Sentry: what ended the start, and what surfaced at the edge of a thread."""

from typing import Any

from raven import Client
from raven.processors import Processor
from raven.transport.http import HTTPTransport
from raven.utils import varmap

from traptor import __version__
from traptor.redaction import redact, reveal


class BlotSecrets(Processor):  # type: ignore[misc]
    """Raven's last step before sending: every known secret becomes ``***``, wherever it stands."""

    def process(self, data: dict[str, Any], **_: Any) -> Any:
        return varmap(lambda _name, value: redact(value) if isinstance(value, str) else value, data)


class Reporter:
    """Sends exceptions to Sentry, without secrets and local variables; does nothing without a DSN.

    Reports are sent before ``report`` returns, because the process may be about to end.
    """

    def __init__(self, dsn: str | None) -> None:
        self._client = None
        if dsn:
            self._client = Client(
                reveal(dsn),
                release=__version__,
                transport=HTTPTransport,
                install_sys_hook=False,
                processors=("raven.processors.RemoveStackLocalsProcessor", "traptor.reports.BlotSecrets"),
            )

    def report(self, error: BaseException) -> None:
        if self._client:
            self._client.captureException((type(error), error, error.__traceback__))
            # Raven leaves out errors it has seen, by id(), and Python gives the id of a past one to the next.
            self._client.context.clear()
