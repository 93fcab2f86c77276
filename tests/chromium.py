"""A headless Chromium, spoken to by its DevTools protocol over two pipes: https://chromedevtools.github.io/devtools-protocol/."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Browser", "find_chromium"]

_QUIET = (
    *(
        "--headless",
        "--no-first-run",
        "--disable-sync",
        "--disable-component-update",
        "--disable-background-networking",
    ),
    *("--disable-dev-shm-usage", "--disable-gpu", "--window-size=1280,1000"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # it reaches nobody else
)


def find_chromium() -> str | None:
    """Return the browser to start: ``LASTGOOD_CHROMIUM``, else one on the PATH."""
    there = os.environ.get("LASTGOOD_CHROMIUM"), *map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    return next(filter(None, there), None)


class Browser:
    """A browser with one page, until the block ends. Its profile is below ``directory``."""

    def __init__(self, program: str, directory: Path) -> None:
        self._requests = 0
        theirs_in, self._to = os.pipe()
        answers, theirs_out = os.pipe()
        self._from = os.fdopen(answers, "rb")
        # It reads from descriptor 3 and writes to 4.
        shell = f'exec "$@" 3< /dev/fd/{theirs_in} 4> /dev/fd/{theirs_out}'
        command = [program, *_QUIET, f"--user-data-dir={directory}", "--remote-debugging-pipe", "about:blank"]
        if os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # which it refuses to make for root
        self._process = subprocess.Popen(
            ["sh", "-c", shell, "sh", *command],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._session: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            target = self._ask("Target.createTarget", url="about:blank")["targetId"]
            self._session = {
                "sessionId": self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            }
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser, as it does when nobody holds its pipes any more."""
        os.close(self._to)
        self._from.close()
        try:
            self._process.wait(30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def open(self, address: str) -> None:
        """Go to a page, and wait until it has begun."""
        self._ask("Page.enable")
        self._ask("Page.navigate", url=address)
        self.run("document.readyState === 'complete' || new Promise((loaded) => addEventListener('load', loaded))")

    def run(self, script: str) -> Any:
        """Evaluate JavaScript in the page, wait for what it promises, and return it."""
        answer = self._ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def picture(self) -> bytes:
        """Return what is seen, as PNG."""
        return base64.b64decode(self._ask("Page.captureScreenshot")["data"])

    def _ask(self, method: str, **arguments: object) -> dict[str, Any]:
        self._requests += 1
        request = {"id": self._requests, "method": method, "params": arguments, **self._session}
        os.write(self._to, json.dumps(request).encode() + b"\0")
        while (message := self._read()).get("id") != self._requests:
            pass  # an event
        if "error" in message:
            raise AssertionError(f"{method}: {message['error']}")
        answer: dict[str, Any] = message["result"]
        return answer

    def _read(self) -> dict[str, Any]:
        data = bytearray()
        while (byte := self._from.read(1)) != b"\0":
            if not byte:
                raise AssertionError(f"the browser has ended with status {self._process.wait()}")
            data += byte
        message: dict[str, Any] = json.loads(data)
        return message
