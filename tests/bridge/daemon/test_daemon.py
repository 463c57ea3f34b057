"""`vdsmd` as a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vdsm_bridge.daemon.main import Signals, main
from vdsm_bridge.testing.polling import until

CONFIG = """
[daemon]
state_dir = "{folder}/state"
run_dir = "{folder}/run"
[hypervisor]
uri = "test:///default"
[plugin.xmlrpc]
enabled = false
[plugin.rest]
enabled = false
[plugin.virt]
enabled = false
"""


class Daemon:
    """A running daemon and its log so far."""

    def __init__(self, folder: Path, config: str = CONFIG) -> None:
        self.config = folder / "vdsm.toml"
        self.log = folder / "log"
        self.config.write_text(config.format(folder=folder))
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "vdsm_bridge.daemon", "--config", str(self.config)]
            self.process = subprocess.Popen(command, stderr=log, stdout=log, cwd=folder)

    def wait_for(self, text: str, count: int = 1) -> None:
        """Wait until the log has a text so many times."""

        def logged() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return self.log.read_text().count(text) >= count

        until(logged, every=0.02, what=f"{text!r} in the log", detail=self.log.read_text)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self) -> None:
        """End it if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that is ready."""
    made = Daemon(tmp_path)
    try:
        made.wait_for("Ready with")
        yield made
    finally:
        made.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_within_five_seconds(daemon: Daemon, number: int) -> None:
    """On request it exits with 0 and logs this."""
    began = time.monotonic()
    daemon.signal(number)
    assert daemon.process.wait(5) == 0
    assert time.monotonic() - began < 5
    assert daemon.log.read_text().rstrip().endswith("Stopped")


def test_applies_a_changed_configuration(daemon: Daemon) -> None:
    """On SIGHUP; options that need a restart are logged."""
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace("[plugin.rest]", "[plugin.base]\nenabled = false\n[plugin.rest]"))
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("The configuration was applied")
    daemon.config.write_text(text.replace("[daemon]", "[daemon]\ngrace = 1"))
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("a restart is needed to apply daemon.grace")


def test_refuses_a_bad_configuration_and_goes_on(daemon: Daemon) -> None:
    """On SIGHUP with a bad file nothing changes, and the reason is logged."""
    good = daemon.config.read_text()
    daemon.config.write_text("[daemon]\ngracee = 1")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("Cannot reload the configuration")
    assert "daemon.gracee: there is no such key" in daemon.log.read_text()
    daemon.config.write_text(good)
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("The configuration was applied")


def test_a_port_that_is_in_use_for_a_moment(tmp_path: Path) -> None:
    """The daemon serves without that binding and reports it; later the binding listens without a restart."""

    def listing(config: Path) -> str:
        command = [sys.executable, "-m", "vdsm_bridge.tool", "plugin", "list", "--config", str(config)]
        lines = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
        return next(line for line in lines.splitlines() if line.startswith("xmlrpc "))

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        table = f"[plugin.xmlrpc]\nport = {port}\n"
        daemon = Daemon(tmp_path, CONFIG.replace("[plugin.xmlrpc]\nenabled = false\n", table))
        try:
            daemon.wait_for("Plugin xmlrpc does not run")
            message = f"failed: Cannot listen on 127.0.0.1:{port}: Address already in use; it is tried again"
            assert listing(daemon.config).endswith(message)
            other.close()
            daemon.wait_for(f"Started plugin xmlrpc on http://127.0.0.1:{port}")
            assert listing(daemon.config).endswith("running")
            daemon.signal(signal.SIGTERM)
            assert daemon.process.wait(10) == 0
        finally:
            daemon.end()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a daemon that must end by itself."""
    command = [sys.executable, "-m", "vdsm_bridge.daemon", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_a_bad_configuration_is_one_line(tmp_path: Path) -> None:
    """It exits with 1 and one line with file, key and reason."""
    file = tmp_path / "vdsm.toml"
    file.write_text("[daemon]\ngrace = 'long'")
    done = run("--config", str(file))
    assert done.returncode == 1
    assert done.stderr == f"vdsmd: {file}: daemon.grace: expected a number, got text\n"
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        ('required = ["nothing"]', "and cannot be used: nothing: not installed"),
        ('state_dir = "/proc/1/nowhere"', "daemon.state_dir"),
    ],
)
def test_a_failed_start_is_logged(tmp_path: Path, replace: str, message: str) -> None:
    """It exits with 1, and the last line of the log has the reason."""
    file = tmp_path / "vdsm.toml"
    text = CONFIG.format(folder=tmp_path)
    if replace.startswith("state_dir"):
        text = text.replace(f'state_dir = "{tmp_path}/state"', "")
    file.write_text(text.replace("[daemon]", f"[daemon]\n{replace}"))
    done = run("--config", str(file))
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_wrong_usage() -> None:
    """argparse's exit code, and the valid choices."""
    done = run("--colour")
    assert done.returncode == 2
    assert "usage: vdsmd" in done.stderr


def test_a_process_that_is_killed_leaves_a_usable_state(tmp_path: Path) -> None:
    """The next start on the same folder is ready again."""
    for number in (signal.SIGKILL, signal.SIGTERM):
        daemon = Daemon(tmp_path)
        try:
            daemon.wait_for("Ready with")
        finally:
            os.kill(daemon.process.pid, number)
            daemon.process.wait(10)


def test_one_daemon_on_one_state_directory(daemon: Daemon, tmp_path: Path) -> None:
    """The second one refuses to start, naming directory and holder; after kill -9 of the first one starts."""
    second = tmp_path / "second"
    second.mkdir()
    file = second / "vdsm.toml"
    text = CONFIG.format(folder=tmp_path).replace(f"{tmp_path}/run", f"{second}/run")
    file.write_text(text)
    done = run("--config", str(file))
    assert done.returncode == 1
    message = f"{tmp_path}/state: daemon.state_dir: another daemon (pid {daemon.process.pid}) uses it"
    assert message in done.stderr.splitlines()[-1]
    assert daemon.process.poll() is None
    daemon.process.kill()
    daemon.process.wait(10)
    next_one = Daemon(tmp_path)
    try:
        next_one.wait_for("Ready with")
    finally:
        next_one.process.kill()
        next_one.process.wait(10)


def test_main_can_be_called(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The console script's function returns the exit code."""
    assert main(["--config", str(tmp_path / "absent.toml")]) == 1
    assert capsys.readouterr().err.endswith("absent.toml: (file): No such file or directory\n")


def test_no_signal_is_lost() -> None:
    """Each is there, whenever it comes: also right before the wait for it begins."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        with Signals() as signals:
            for _ in range(100):
                os.kill(os.getpid(), signal.SIGHUP)
                assert signals.next() == signal.SIGHUP
            signals.add(0)
            os.kill(os.getpid(), signal.SIGTERM)
            assert [signals.next(), signals.next()] == [0, signal.SIGTERM]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
