"""A real browser, driven over a pair of pipes by its own debugging protocol; no driver, no port."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vdsm_bridge.testing.polling import until

#: Seconds to wait for the browser, a page, an answer.
PATIENCE = 40.0
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--remote-debugging-pipe", "--window-size=1280,900",
)  # fmt: skip


def executable() -> str | None:
    """Chromium, if it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One page in a headless Chromium."""

    def __init__(self, read: int, write: int) -> None:
        self._read = read
        self._write = write
        self._number = 0
        self._buffer = b""
        self._session = ""
        #: What the page logged as an error, and exceptions that it did not catch.
        self.complaints: list[str] = []

    def open(self, url: str) -> None:
        """Go to a page."""
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self._send(f"{domain}.enable")
        self._send("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """The value of a script."""
        reply = self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def wait(self, script: str) -> Any:
        """The value of a script once it is true."""
        return until(lambda: self.evaluate(script), PATIENCE, every=0.05, what=script)

    def emulate(self, scheme: str) -> None:
        """Prefer light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._send("Emulation.setEmulatedMedia", features=features)

    def press(self, key: str, text: str = "") -> None:
        """Press a key."""
        code = {"Enter": 13, "ArrowDown": 40}.get(key, 0)
        for type_ in ("keyDown", "keyUp"):
            self._send(
                "Input.dispatchKeyEvent", type=type_, key=key, text=text if type_ == "keyDown" else "",
                windowsVirtualKeyCode=code,
            )  # fmt: skip

    def _send(self, method: str, **params: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._receive()
            if reply.get("id") == self._number:
                assert "error" not in reply, reply
                return reply["result"]
            self._note(reply)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        if event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._read, 65_536)
            assert data, "the browser has ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def quit(self) -> None:
        """End the browser in order."""
        self._session = ""
        self._send("Browser.close")


@contextmanager
def running(profile: str) -> Iterator[Browser]:
    """A browser with a profile of its own; it is gone afterwards."""
    command = executable()
    assert command is not None
    to_browser, write = os.pipe()
    read, from_browser = os.pipe()
    # The protocol is spoken on descriptors 3 and 4 of the browser.
    script = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
    process = subprocess.Popen(
        ["/bin/bash", "-c", script, "-", command, *_FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    os.close(to_browser)
    os.close(from_browser)
    browser = Browser(read, write)
    try:
        yield browser
        browser.quit()
        process.wait(PATIENCE)
    finally:
        os.close(read)
        os.close(write)
        if process.poll() is None:
            # Its helpers are in the session that was made for it.
            os.killpg(process.pid, 9)
            process.wait(PATIENCE)
