"""Helpers that are killed before, in and after an operation: real processes, real signals."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.core.privileged import sample
from tests.soak import chance, count
from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.privileged import connected
from vdsm_core.privileged import Entry, HelperUnavailable, OperationOutcomeUnknown, operations_of
from vdsm_core.privileged.client import PrivilegedClient
from vdsm_core.privileged.launch import OwnHelper

#: A plugin that the real helper has.
virt = pytest.importorskip("vdsm_virt.privileged")
REPOSITORY = Path(__file__).parents[3]


class Helpers:
    """Keeps a helper of the sample operations on a socket, as a service manager does with its socket."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "socket")
        self._folder = folder
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen(16)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="helpers")
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0

    def __enter__(self) -> Helpers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.kill()
        self._thread.join()
        self._listener.close()

    def kill(self) -> None:
        """Kill the present one."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)

    def _keep(self) -> None:
        while not self._over.is_set():
            if not select.select([self._listener], [], [], 0.05)[0]:
                continue
            command = [sys.executable, "-m", "tests.core.privileged.serve_samples"]
            descriptor = self._listener.fileno()
            with (self._folder / "log").open("ab") as log:
                self.process = subprocess.Popen(
                    [*command, str(descriptor), str(self._folder)],
                    cwd=REPOSITORY,
                    pass_fds=[descriptor],
                    stderr=log,
                )
            self.started += 1
            while self.process.poll() is None and not self._over.is_set():
                time.sleep(0.005)
            self.kill()
            self.process.wait()


@pytest.fixture
def helpers(tmp_path: Path) -> Iterator[Helpers]:
    """A socket on which a helper is started when it is needed."""
    with Helpers(tmp_path) as helpers:
        yield helpers


@pytest.fixture
def client(helpers: Helpers) -> Iterator[PrivilegedClient]:
    """The daemon's side."""
    with connected(helpers.address, "sample", sample) as client:
        yield client


class Call:
    """A call on a thread of its own."""

    def __init__(self, client: PrivilegedClient, *args: Any) -> None:
        self.outcome: Any = None
        self._thread = threading.Thread(target=self._run, args=(client, *args))
        self._thread.start()

    def _run(self, client: PrivilegedClient, *args: Any) -> None:
        try:
            self.outcome = client.run(*args)
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.outcome = error

    def join(self) -> Any:
        """Wait for its end, and return the result or the error."""
        self._thread.join()
        return self.outcome


def test_killed_before_an_operation(helpers: Helpers, client: PrivilegedClient) -> None:
    """The next call is answered by the next helper, whether it may be repeated or not."""
    assert client.run(sample.add, 1) == 2
    helpers.kill()
    assert client.run(sample.add, 2) == 3
    helpers.kill()
    assert client.run(sample.describe, "n", "a", sample.Mode(1), on=True) == "n a 1  True"
    assert helpers.started == 3


def test_killed_in_an_operation(helpers: Helpers, client: PrivilegedClient, tmp_path: Path) -> None:
    """What may not be repeated ends as unknown, at once, and was begun once; the helper is back."""
    call = Call(client, sample.wait_for, Entry("mark"), 30.0)
    until((tmp_path / "mark").exists)
    helpers.kill()
    error = call.join()
    assert isinstance(error, OperationOutcomeUnknown), error
    assert error.in_doubt
    assert error.slug == "operation-outcome-unknown"
    assert "sample.wait_for, which may have been done" in str(error)
    assert client.run(sample.add, 1) == 2


def test_killed_in_an_operation_that_may_be_repeated(
    helpers: Helpers, client: PrivilegedClient, tmp_path: Path
) -> None:
    """It is begun again by the next helper, and its caller notices nothing."""
    call = Call(client, sample.count_up, Entry("mark"), 2)
    until(lambda: (tmp_path / "mark").exists() and (tmp_path / "mark").read_text() == "once\n")
    helpers.kill()
    assert call.join() == 2
    assert helpers.started == 2


def test_an_operation_that_kills_its_helper_is_not_repeated_for_ever(
    helpers: Helpers, client: PrivilegedClient, tmp_path: Path
) -> None:
    """After five times its caller gets an error, and others are served."""
    call = Call(client, sample.count_up, Entry("mark"), 10)
    for lines in range(1, 6):
        until(lambda lines=lines: (tmp_path / "mark").exists() and lines_of(tmp_path) >= lines)
        helpers.kill()
    assert isinstance(call.join(), OperationOutcomeUnknown)
    assert lines_of(tmp_path) == 5
    assert client.run(sample.add, 1) == 2


def lines_of(folder: Path) -> int:
    """How often `count_up` was begun."""
    return (folder / "mark").read_text().count("\n")


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_killed_at_any_moment(helpers: Helpers, client: PrivilegedClient, tmp_path: Path) -> None:
    """Callers go on through kills: results are right, only what may not be repeated can be unknown."""
    dice, over = chance("kills of the helper"), threading.Event()
    wrong: list[object] = []
    unknown = 0

    def call() -> None:
        nonlocal unknown
        number = 0
        while not over.is_set():
            number = (number + 1) % 10
            try:
                if client.run(sample.add, number) != number + 1:
                    wrong.append(number)
                if (
                    client.run(sample.describe, "n", "a", sample.Mode(number), on=True)
                    != f"n a {number}  True"
                ):
                    wrong.append(number)
            except OperationOutcomeUnknown:
                unknown += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
                wrong.append(error)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    kills = count(8)
    for number in range(kills):
        until(lambda number=number: helpers.started > number)
        time.sleep(dice.random() * 0.4)
        helpers.kill()
    over.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert unknown <= kills * len(threads)
    assert client.run(sample.add, 1) == 2


def test_the_daemons_own_helper_is_started_again() -> None:
    """By its supervisor, after a kill; both end with the daemon."""
    helper = OwnHelper(os.geteuid(), None)
    helper.start()
    client = PrivilegedClient(helper.address)
    client.register("virt", operations_of(virt))
    try:
        first = client.run(virt.read_firmware)
        (supervisor,) = children(os.getpid(), "vdsm-helper-sup")
        (worker,) = children(supervisor, "vdsm-helper")
        os.kill(worker, signal.SIGKILL)
        assert client.run(virt.read_firmware) == first
        (successor,) = children(supervisor, "vdsm-helper")
        assert successor != worker
        client.reload()

        def renewed() -> bool:
            # The one before may still take a call or two.
            assert client.run(virt.read_firmware) == first
            return children(supervisor, "vdsm-helper") not in ([], [successor])

        until(renewed)
    finally:
        client.close()
        helper.stop(20.0)
    assert children(os.getpid(), "vdsm-helper-sup") == []
    with pytest.raises(HelperUnavailable):
        client.run(virt.read_firmware)


def test_a_supervisor_that_is_killed_gets_a_successor() -> None:
    """From the helper, which serves on; a helper that is killed afterwards is started again as before."""
    helper = OwnHelper(os.geteuid(), None)
    helper.start()
    client = PrivilegedClient(helper.address)
    client.register("virt", operations_of(virt))
    try:
        first = client.run(virt.read_firmware)
        (supervisor,) = children(os.getpid(), "vdsm-helper-sup")
        (worker,) = children(supervisor, "vdsm-helper")
        for _ in range(2):
            os.kill(supervisor, signal.SIGKILL)
            until(lambda gone=[supervisor]: children(worker, "vdsm-helper-sup") not in ([], gone))
            (supervisor,) = children(worker, "vdsm-helper-sup")
            assert client.run(virt.read_firmware) == first
        os.kill(worker, signal.SIGKILL)
        assert client.run(virt.read_firmware) == first
        (successor,) = children(supervisor, "vdsm-helper")
    finally:
        client.close()
        helper.stop(20.0)
    until(lambda: not Path(f"/proc/{supervisor}").exists() and not Path(f"/proc/{successor}").exists())


def children(parent: int, name: str) -> list[int]:
    """The processes of a name that a process has started, and that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            before, _, after = path.read_text().rpartition(")")
            state, ppid, *_ = after.split()
            if (before.partition("(")[2], int(ppid)) == (name, parent) and state != "Z":
                found.append(int(path.parent.name))
    return found


def test_the_helper_ends_with_a_daemon_that_is_killed(tmp_path: Path) -> None:
    """Neither it nor its supervisor outlives the daemon."""
    program = (
        "import os, sys, time\n"
        "from vdsm_core.privileged import operations_of\n"
        "from vdsm_core.privileged.launch import OwnHelper\n"
        "from vdsm_core.privileged.client import PrivilegedClient\n"
        "from vdsm_virt import privileged as virt\n"
        "helper = OwnHelper(os.geteuid(), None); helper.start()\n"
        "client = PrivilegedClient(helper.address); client.register('virt', operations_of(virt))\n"
        "client.run(virt.read_firmware); print('ready', flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program]
    with (tmp_path / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert daemon.stdout is not None
    assert daemon.stdout.readline() == "ready\n"
    (supervisor,) = children(daemon.pid, "vdsm-helper-sup")
    (worker,) = children(supervisor, "vdsm-helper")
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    until(lambda: not Path(f"/proc/{supervisor}").exists() and not Path(f"/proc/{worker}").exists())


def test_the_helper_loads_nothing_of_the_daemon() -> None:
    """Neither the bridge, nor libvirt, nor what speaks to a network."""
    program = (
        "import sys\n"
        "from vdsm_core.privileged.server.main import main\n"
        "from vdsm_core.privileged.server.registry import Registry\n"
        "registry = Registry.installed(None)\n"
        "assert 'virt.read_firmware' in registry.operations\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "vdsm_virt.privileged" in loaded
    of_the_daemon = {
        "vdsm_bridge",
        "vdsm_core.work",
        "vdsm_core.events",
        "vdsm_core.hypervisor",
        "vdsm_virt.feature",
    }
    assert (
        loaded & {*of_the_daemon, "libvirt", "http", "ssl", "xmlrpc", "asyncio", "cherrypy", "proton"}
        == set()
    )
