"""A Chromium without a window, driven over its DevTools protocol: pages of any width, light or dark, as a person sees
them."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

from tests.servers import PATIENCE_SECONDS, ServerMissing, wait_until

OPTIONS = (
    "--headless", "--hide-scrollbars", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip


def binary() -> str:
    """Raises ServerMissing."""
    if found := shutil.which("chromium") or shutil.which("google-chrome"):
        return found
    raise ServerMissing("no Chromium; Debian's package is `chromium`")


class Browser:
    """One page; a ``with`` starts and ends it. Its profile is thrown away."""

    def __enter__(self) -> Self:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        # It reads commands from descriptor 3 and writes to 4, each ended by a zero.
        theirs_in, self._commands = os.pipe()
        self._answers, theirs_out = os.pipe()
        high = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 10) for one in (theirs_in, theirs_out)]

        command = [binary(), *OPTIONS, f"--user-data-dir={self._profile.name}", "about:blank"]
        placed = ["bash", "-c", f'exec "$@" 3<&{high[0]} 4>&{high[1]}', "bash", *command]
        nowhere = subprocess.DEVNULL
        self._process = subprocess.Popen(placed, stdout=nowhere, stderr=nowhere, pass_fds=high)
        for one in (theirs_in, theirs_out, *high):
            os.close(one)
        self._left, self._count, self._session = b"", 0, ""
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.failures: list[str] = []
        """What the page has thrown, and what its policy has refused."""
        for domain in ("Page", "Runtime", "Log"):
            self.tell(f"{domain}.enable")
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)
        self._profile.cleanup()

    def tell(self, method: str, **parameters: Any) -> Any:
        """A command of the protocol; returns its result."""
        self._count += 1
        said = {"id": self._count, "method": method, "params": parameters}
        os.write(
            self._commands, json.dumps(said | ({"sessionId": self._session} if self._session else {})).encode() + b"\0"
        )
        while True:
            heard = self._heard()
            if heard.get("id") == self._count:
                assert "error" not in heard, heard["error"]
                return heard["result"]

    def _heard(self) -> Any:
        while b"\0" not in self._left:
            portion = os.read(self._answers, 1 << 16)
            assert portion, "Chromium has ended"
            self._left += portion
        one, _, self._left = self._left.partition(b"\0")
        heard = json.loads(one)
        if heard.get("method") == "Runtime.exceptionThrown":
            self.failures.append(json.dumps(heard["params"]["exceptionDetails"]))
        elif heard.get("method") == "Log.entryAdded" and heard["params"]["entry"]["source"] == "security":
            self.failures.append(heard["params"]["entry"]["text"])
        return heard

    def show(self, url: str, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """``width`` of a phone is 390."""
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tell("Emulation.setEmulatedMedia", features=[scheme])
        self.tell("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """Of this JavaScript in the page."""
        found = self.tell("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, text: str) -> None:
        """Until the page shows it."""
        wait_until(lambda: text in self.text(), f"{text!r} on the page", PATIENCE_SECONDS)

    def text(self) -> str:
        """What a person reads."""
        return str(self.value("document.body ? document.body.innerText : ''"))

    def picture(self, file: Path) -> None:
        """What is in sight, as PNG."""
        file.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot")["data"]))
