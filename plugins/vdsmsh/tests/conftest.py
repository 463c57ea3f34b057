"""A host with the REST binding on a unix socket, and ways to drive vdsmsh."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.testing import TestHost
from vdsmsh.main import main

#: Where the scripts of this environment lie.
SCRIPTS = Path(sys.executable).parent
HALL = "11111111-1111-1111-1111-111111111111"
YARD = "22222222-2222-2222-2222-222222222222"


class Outcome:
    """What one command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"exit code {self.code}\n{self.out}{self.err}"


Run = Callable[..., Outcome]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of the test's own for whatever vdsmsh remembers, and no host meant by the environment."""
    for variable in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.setenv("HOME", str(tmp_path))
    # Scripts of this environment before others of the same name.
    monkeypatch.setenv("PATH", f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}")
    for variable in ("VDSM_URL", "VDSM_TOKEN", "COLUMNS"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def host(home: Path, make_vdsm_host: Callable[..., TestHost], monkeypatch: pytest.MonkeyPatch) -> TestHost:
    """A host with two lamps, which `VDSM_URL` means."""
    rest = pytest.importorskip("vdsm_rest", reason="vdsmsh speaks to the REST binding")
    socket = home / "api.sock"
    options = {"socket": str(socket), "address": "127.0.0.1", "port": 0}
    started = make_vdsm_host(bindings={"rest": rest.RestBinding}, config={"plugin": {"rest": options}})
    monkeypatch.setenv("VDSM_URL", f"unix://{socket}")
    started.call("Lamp.create", lamp={"lampID": HALL, "name": "hall", "watts": 40})
    started.call("Lamp.create", lamp={"lampID": YARD, "name": "back yard", "colour": "blue"})
    return started


@pytest.fixture
def machines(
    home: Path, make_vdsm_host: Callable[..., TestHost], monkeypatch: pytest.MonkeyPatch
) -> TestHost:
    """A host with the verbs of machines, on libvirt's test driver; `VDSM_URL` means it."""
    rest = pytest.importorskip("vdsm_rest")
    virt = pytest.importorskip("vdsm_virt")
    socket = home / "api.sock"
    options = {"socket": str(socket), "address": ""}
    monkeypatch.setenv("VDSM_URL", f"unix://{socket}")
    return make_vdsm_host(
        verbs={"virt": virt.Virt},
        bindings={"rest": rest.RestBinding},
        config={"plugin": {"rest": options, "virt": {"kept_custom": ["a", "b"]}}},
    )


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs one command in this process."""

    def run_one(*words: str) -> Outcome:
        capsys.readouterr()
        code = main(words)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run_one


class Terminal:
    """A program on a terminal of its own, 100 by 40 characters."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        subprocess.run(["stty", "cols", "100", "rows", "40"], stdin=slave, check=True)
        quiet = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "PAGER": "cat"}
        # Ctrl-C goes to the session that owns the terminal.
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, **quiet, **env},
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        """Type, and forget what was seen so far."""
        self.seen = ""
        os.write(self._master, text.encode())

    def expect(self, *texts: str, timeout: float = 20.0) -> str:
        """Wait until the terminal has shown each of the texts."""
        deadline = time.monotonic() + timeout
        while not all(text in self.seen for text in texts):
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"waited for {texts!r}, saw {self.seen!r}")
            self.seen += self._read()
            if self._process.poll() is not None and time.monotonic() > deadline:
                raise AssertionError(f"waited for {texts!r}, and the program ended; saw {self.seen!r}")
        return self.seen

    def wait(self, timeout: float = 20.0) -> int:
        """Wait for the program to end; its exit code."""
        deadline = time.monotonic() + timeout
        while self._process.poll() is None and time.monotonic() < deadline:
            if select.select([self._master], [], [], 0.05)[0]:
                self.seen += self._read()
        return self._process.wait(1.0)

    def type_until_it_ends(self, text: str, timeout: float = 20.0) -> int:
        """Type the same again and again until the program ends; its exit code."""
        deadline = time.monotonic() + timeout
        while self._process.poll() is None and time.monotonic() < deadline:
            self.type(text)
            if select.select([self._master], [], [], 0.5)[0]:
                self.seen += self._read()
        return self.wait(1.0)

    def close(self) -> None:
        """End the program if it still runs."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        os.close(self._master)

    def _read(self) -> str:
        try:
            return os.read(self._master, 65536).decode("utf-8", "replace")
        except OSError:
            # The program has closed its end.
            time.sleep(0.05)
            return ""


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """A function that starts a program on a terminal; it is gone when the test ends."""
    started: list[Terminal] = []

    def start(*argv: str, **env: str) -> Terminal:
        started.append(Terminal(list(argv), env))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def vdsmsh() -> str:
    """The installed command."""
    return str(SCRIPTS / "vdsmsh")


@pytest.fixture
def lamp(host: TestHost) -> Callable[[str], Any]:
    """A function that returns the state of a lamp."""
    return lambda lamp_id: host.call("Lamp.getInfo", lampID=lamp_id)
