"""A daemon of the packages, in a folder, and its callers."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from folder import ENVIRONMENT, CommandFailed, Folder

#: The daemon as root starts it where no systemd does: it changes to its account, and has a helper of its own.
BY_ROOT = "umask 027; exec vdsmd --system"
#: The daemon as the units of earlier releases started it: root, without any capability.
AS_ROOT = (
    "umask 027; exec setpriv --bounding-set=-all --no-new-privs --regid=vdsm --clear-groups vdsmd --system"
)
_PATIENCE = 60.0


class Daemon:
    """vdsmd in a folder, with a loopback interface of its own."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.log = folder.root / "var" / "log" / "vdsmd.log"
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self, start: str = BY_ROOT) -> Iterator[None]:
        """From the moment when it serves until it has ended.

        :param start: how a shell starts it
        """
        inside = shlex.join(self._folder.command("sh", "-c", start))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", f"ip link set lo up && exec {inside}"],
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self.until(lambda: self._ready())
            yield
        finally:
            self._process.send_signal(signal.SIGTERM)
            code = self._process.wait(_PATIENCE)
        assert code == 0, self.log.read_text()

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        return (self._folder.root / "run/vdsm/vdsmd.json").exists()

    def status(self) -> dict[str, str]:
        """What the kernel says of its process."""
        assert self._process is not None
        rows = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (row.partition(":") for row in rows)}

    def until(self, happened: Any) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + _PATIENCE
        while not happened():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def call(self, *words: str) -> str:
        """Run a command in the folder that finds the daemon on loopback; what it said.

        :raises CommandFailed: its exit code is not 0
        """
        assert self._process is not None
        network = ("nsenter", f"--target={self._process.pid}", "--net")
        done = subprocess.run(
            [*network, *self._folder.command(*words)],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CommandFailed(f"{words[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def python(self, code: str, *, user: str = "") -> Any:
        """The value of a Python expression, in the folder; its names are modules."""
        names = "import os, socket, http.client, json, urllib.request, xmlrpc.client"
        program = f"{names}\nprint(json.dumps({code}))"
        as_user = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups") if user else ()
        return json.loads(self.call(*as_user, "python3", "-c", program))


class Caller:
    """Asks over the unix socket, again and again, while packages come and go."""

    def __init__(self, folder: Folder) -> None:
        self._run = folder.root / "run" / "vdsm"
        self._stop = threading.Event()
        self.calls = 0
        self.longest = 0.0
        self.failures: list[str] = []

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Call until it ends."""
        thread = threading.Thread(target=self._call, name="caller")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _call(self) -> None:
        while not self._stop.wait(0.02):
            began = time.monotonic()
            try:
                status, _ = ask(self._run, "/api/host/ping")
            except OSError as error:
                self.failures.append(repr(error))
            else:
                if status not in {200, 204}:
                    self.failures.append(str(status))
            self.calls += 1
            self.longest = max(self.longest, time.monotonic() - began)


class _Local(http.client.HTTPConnection):
    """HTTP on a unix socket, whose path may be longer than an address can be."""

    def __init__(self, folder: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._folder = folder

    def connect(self) -> None:
        handle = os.open(self._folder, os.O_PATH)
        try:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(f"/proc/self/fd/{handle}/api.sock")
        finally:
            os.close(handle)


def ask(folder: Path, path: str) -> tuple[int, Any]:
    """GET from the API's socket in a folder: status and document."""
    connection = _Local(folder)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    return response.status, json.loads(body) if body else None
