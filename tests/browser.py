"""Chromium without a window, driven over two pipes (DevTools protocol): no driver, no port."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from select import select

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
SECONDS = 60  # a silent browser has failed


def binary() -> str | None:
    """The first Chromium on the PATH, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in one browser; `complaints` collects console errors, exceptions and failed loads,
    `asked` every URL."""

    def __init__(self):
        self.profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        pairs = [[_high(fd) for fd in os.pipe()] for _ in range(2)]
        (theirs_in, self.out), (self.into, theirs_out) = pairs
        # The browser reads file descriptor 3 and writes 4.
        start = f'exec "$0" "$@" 3</dev/fd/{theirs_in} 4>/dev/fd/{theirs_out}'
        command = [
            "/bin/sh",
            "-c",
            start,
            binary(),
            *FLAGS,
            f"--user-data-dir={self.profile.name}",
            "about:blank",
        ]
        self.process = subprocess.Popen(
            command,
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.buffer, self.calls, self.session = b"", 0, None
        self.complaints: list[str] = []
        self.asked: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.into)
        self.profile.cleanup()

    def call(self, method: str, **parameters) -> dict:
        """Send one command and return its result. Raises RuntimeError with the browser's reason."""
        self.calls += 1
        session = {"sessionId": self.session} if self.session else {}
        message = {"id": self.calls, "method": method, "params": parameters, **session}
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while (answer := self.receive()).get("id") != self.calls:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def receive(self) -> dict:
        """The next message, noted if it is an event worth it."""
        while b"\0" not in self.buffer:
            if not select([self.into], [], [], SECONDS)[0] or not (
                part := os.read(self.into, 1 << 20)
            ):
                raise RuntimeError(f"the browser is silent (exit status {self.process.poll()})")
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\0")
        message = json.loads(line)
        found, kind = message.get("params", {}), message.get("method")
        if kind == "Network.requestWillBeSent":
            self.asked.append(found["request"]["url"])
        elif kind == "Network.loadingFailed":
            self.complaints.append(f"failed to load: {found['errorText']}")
        elif kind == "Runtime.exceptionThrown":
            self.complaints.append(found["exceptionDetails"]["text"])
        elif kind == "Runtime.consoleAPICalled" and found["type"] in ("error", "warning", "assert"):
            self.complaints.append(str([a.get("value") for a in found["args"]]))
        elif kind == "Log.entryAdded" and found["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{found['entry']['text']} ({found['entry'].get('url', '')})")
        return message

    def show(self, width: int, scheme: str) -> None:
        """Set the window's width in CSS pixels and the preferred colours, "light" or "dark"."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )

    def open(self, page: Path | str) -> None:
        """Load a page, from disk or by its URL, and wait until it and its pictures are there."""
        self.call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        while self.receive().get("method") != "Page.loadEventFired":
            pass
        self.run(
            "for (const i of document.images) i.loading = 'eager';"
            "Promise.allSettled([...document.images].map(i => i.decode()))"
        )

    def run(self, script: str):
        """The value of a script, awaited if it is a promise. Raises RuntimeError if it throws."""
        done = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in done:
            raise RuntimeError(done["exceptionDetails"]["text"])
        return done["result"].get("value")

    def picture(self, whole: bool = True) -> bytes:
        """A screenshot as PNG, of the whole page or of the window."""
        return base64.b64decode(
            self.call(
                "Page.captureScreenshot",
                captureBeyondViewport=whole,
                **(
                    {
                        "clip": {
                            **self.run(
                                "({x: 0, y: 0, width: innerWidth,"
                                " height: document.documentElement.scrollHeight})"
                            ),
                            "scale": 1,
                        }
                    }
                    if whole
                    else {}
                ),
            )["data"]
        )


def _high(fd: int) -> int:
    """The same file as a descriptor above those that the child redirects."""
    copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return copy
