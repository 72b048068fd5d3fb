"""Chromium without a window, driven through the DevTools protocol over a pipe: no further package is needed."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A first start on a busy machine takes its time.
PATIENCE = 300.0


def executable() -> str | None:
    """The path of a Chromium, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """A tab. Every wait is bounded; what does not come in time is an AssertionError."""

    def __init__(self, process: subprocess.Popen[bytes], to: int, of: int) -> None:
        self._process, self._to, self._of = process, to, of
        self._number = 0
        self._buffer = b""
        self._session: str | None = None
        self._context: int | None = None
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A method of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._read(deadline)
            if answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self._of], [], [], left)[0]
            assert ready, "the browser does not answer"
            piece = os.read(self._of, 1 << 16)
            assert piece, "the browser has gone"
            self._buffer += piece
        line, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(line))

    def open(self, url: str, width: int = 1400, height: int = 1000) -> None:
        """Go to a page; scripts may still be loading its content."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.call("Page.navigate", url=url)
        self.wait("document.readyState == 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        where = {} if self._context is None else {"contextId": self._context}
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, **where
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = PATIENCE) -> Any:
        """The value of an expression once it is true."""
        deadline = time.monotonic() + seconds
        while True:
            with suppress(AssertionError):
                if found := self.evaluate(expression):
                    return found
            if time.monotonic() > deadline:
                raise AssertionError(f"never true: {expression}")
            time.sleep(0.2)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Evaluate in the only frame of the page, whose sandbox keeps the page itself out."""
        deadline = time.monotonic() + PATIENCE
        ready = ""
        while ready != "complete":
            assert time.monotonic() < deadline, "the frame was not loaded"
            time.sleep(0.2)
            # Before its content is there the frame is another document, whose world goes with it.
            self._context = None
            frames = self.call("Page.getFrameTree")["frameTree"].get("childFrames", [])
            for child in frames:
                world = self.call("Page.createIsolatedWorld", frameId=child["frame"]["id"])
                self._context = world["executionContextId"]
            with suppress(AssertionError):
                ready = frames and self.evaluate("document.querySelector('h1') ? document.readyState : ''")
        try:
            yield
        finally:
            self._context = None

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A page of a browser whose profile lies in `folder`; ended by its process group."""
    found = executable()
    assert found is not None
    to_read, to = os.pipe()
    of, of_write = os.pipe()

    def descriptors() -> None:
        # The protocol's pipes are 3 and 4; first out of each other's way.
        a, b = os.dup2(to_read, 103), os.dup2(of_write, 104)
        os.dup2(a, 3)
        os.dup2(b, 4)

    command = [found, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    # A sandboxed frame in a process of its own would be out of reach of its page's session.
    command += ["--disable-features=IsolateSandboxedIframes", "--disable-site-isolation-trials"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command += [
        "--hide-scrollbars",
        "--no-proxy-server",
        "--remote-debugging-pipe",
        f"--user-data-dir={folder}",
    ]
    process = subprocess.Popen(
        [*command, "about:blank"],
        preexec_fn=descriptors,
        close_fds=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(to_read)
    os.close(of_write)
    try:
        yield Page(process, to, of)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(to)
        os.close(of)
