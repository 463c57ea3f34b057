"""Calls of operations: results, errors, deadlines, capabilities, the log, and who is served."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.core.privileged import sample
from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.privileged import InProcess, connected, serving
from vdsm_core.errors import InvalidArgument, OperationFailed, UnexpectedError
from vdsm_core.privileged import CommandFailed, Entry, HelperUnavailable, Opened, OperationDeadline
from vdsm_core.privileged.client import Caller, PrivilegedClient
from vdsm_core.privileged.server.registry import Registry

NOBODY = 65534
REPOSITORY = Path(__file__).parents[3]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="capabilities are root's to give")


def test_results_arrive_as_their_types(client: PrivilegedClient, root: Path) -> None:
    """Numbers, text and bytes; arguments by position and by name."""
    (root / "file").write_bytes(b"\x00content")
    assert client.run(sample.add, 2) == 3
    assert client.run(sample.add, 2, right=5) == 7
    assert client.run(sample.describe, "n", "b", sample.Mode(1, ["x", "y"]), on=False) == "n b 1 x,y False"
    assert client.run(sample.read, Opened("file")) == b"\x00content"
    client.run(sample.remove, Entry("file"))
    assert list(root.iterdir()) == []


def test_errors_arrive_as_their_classes(client: PrivilegedClient) -> None:
    """A declared one with its facts; others as a failed operation, or as an incident without its details."""
    with pytest.raises(sample.NoSuchLamp, match="There is no lamp 'hall'"):
        client.run(sample.fail, "declared")
    with pytest.raises(OperationFailed, match=r"sample.fail: It is dark"):
        client.run(sample.fail, "undeclared")
    with pytest.raises(OperationFailed, match=r"sample.fail: No such file or directory"):
        client.run(sample.fail, "system")
    with pytest.raises(UnexpectedError, match=r"sample.fail failed unexpectedly") as caught:
        client.run(sample.fail, "bug")
    assert "KeyError" not in str(caught.value)


def test_too_large_a_result_is_an_error(client: PrivilegedClient) -> None:
    """And the connection is fit for the next call."""
    with pytest.raises(OperationFailed, match=r"the result of sample.large is larger than"):
        client.run(sample.large)
    assert client.run(sample.add, 1) == 2


def test_too_large_arguments_are_not_sent(client: PrivilegedClient) -> None:
    """The error says how large they may be."""
    with pytest.raises(InvalidArgument, match="more than 262144 bytes"):
        client.run(sample.describe, "A" * 2**20, "a", sample.Mode(1), on=True)


def test_an_operation_that_overstays_is_left_alone(client: PrivilegedClient) -> None:
    """Its caller gets an error in doubt at the deadline; other calls go on."""
    with pytest.raises(OperationDeadline, match=r"did not end within 0.3 s") as caught:
        client.run(sample.overstay, 2.0)
    assert caught.value.in_doubt
    assert client.run(sample.add, 1) == 2


def test_the_deadline_of_the_call_counts(registry: Registry) -> None:
    """Where it is shorter than the operation's."""
    left = 0.2
    with (
        serving(registry) as address,
        connected(address, "sample", sample, lambda: Caller("joe", "", left)) as client,
    ):
        with pytest.raises(OperationDeadline, match=r"within 0\.2 s"):
            client.run(sample.overstay, 1.0)
        left = 0.0
        with pytest.raises(HelperUnavailable, match="the deadline of the call has passed"):
            client.run(sample.add, 1)


def test_many_calls_at_once(client: PrivilegedClient) -> None:
    """Each thread gets its own results."""
    results: dict[int, int] = {}

    def call(number: int) -> None:
        for _ in range(20):
            results[number] = client.run(sample.add, number, 1)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: number + 1 for number in range(10)}


def test_every_call_is_logged(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """Caller, flow id, operation, outcome, duration; on one line, whatever the caller is called."""
    caplog.set_level(logging.INFO, "vdsm.helper")
    who = Caller("jo\ne", "f\x1b[1m" + "x" * 900)
    with serving(registry) as address, connected(address, "sample", sample, lambda: who) as client:
        client.run(sample.add, 1)
        with pytest.raises(sample.NoSuchLamp):
            client.run(sample.fail, "declared")
    good, bad = (record for record in caplog.records if "operation=" in record.getMessage())
    assert good.getMessage().startswith("caller='jo?e' flow='f?[1mxxx")
    assert "operation=sample.add outcome=ok duration_ms=" in good.getMessage()
    assert (good.levelname, bad.levelname) == ("INFO", "WARNING")
    assert "operation=sample.fail outcome=no-such-lamp-here" in bad.getMessage()


def test_only_registered_operations_can_be_called(client: PrivilegedClient, registry: Registry) -> None:
    """A plugin that does not run, and one that the helper does not have, are both named."""
    client.unregister("sample")
    with pytest.raises(HelperUnavailable, match="operation add: its plugin does not run"):
        client.run(sample.add, 1)
    client.register("other", [sample.add])
    with pytest.raises(HelperUnavailable, match=r"operation other\.add: the helper does not have it"):
        client.run(sample.add, 1)


@pytest.mark.parametrize("address", ["", "/nonexistent/socket"])
def test_without_a_helper(address: str) -> None:
    """The error names the operation and says what to do; the reason is kept for the plugin's health."""
    said = r"operation sample\.add: vdsmd runs without a privileged helper\. Run vdsmd as the service"
    with connected(address, "sample", sample) as client:
        with pytest.raises(HelperUnavailable, match=said):
            client.run(sample.add, 1)
        assert "privileged helper" in client.trouble
        client.reload()


@as_root
def test_another_user_is_refused(registry: Registry) -> None:
    """By its credentials, before anything of it is read; so is every peer while no uid is known."""
    program = (
        "import os, sys\n"
        "from tests.core.privileged import sample\n"
        "from vdsm_bridge.testing.privileged import connected\n"
        "with connected(sys.argv[1], 'sample', sample) as client:\n"
        "    os.setgid(65534); os.setuid(65534)\n"
        "    try: print(client.run(sample.add, 1))\n"
        "    except Exception as error: print(error)\n"
    )
    with serving(registry, peers={0}) as address:
        with connected(address, "sample", sample) as client:
            assert client.run(sample.add, 1) == 2
        command = [sys.executable, "-c", program, address]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
        assert "serves the daemon's account only, and not user id 65534" in done.stdout, done.stderr
    nobody = pytest.raises(HelperUnavailable, match="and not user id 0")
    with serving(registry, peers=()) as address, connected(address, "sample", sample) as client, nobody:
        client.run(sample.add, 1)


def test_a_socket_of_another_user_is_not_trusted(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper is root's, or one's own."""
    monkeypatch.setattr("vdsm_core.privileged.client.peer_uid", lambda _: 12345)
    refusal = pytest.raises(HelperUnavailable, match="belongs to user id 12345 and not to root")
    with serving(registry) as address, connected(address, "sample", sample) as client, refusal:
        client.run(sample.add, 1)


@as_root
def test_an_operation_holds_the_capabilities_that_it_declares(root: Path) -> None:
    """Beside root's user id nothing else: without CAP_CHOWN a file cannot be given away, with it it can."""
    (root / "file").write_text("")
    program = (
        "import sys\n"
        "from tests.core.privileged import sample\n"
        "from vdsm_bridge.testing.privileged import connected, serving\n"
        "from vdsm_core.privileged import Entry, capabilities, operations_of\n"
        "from vdsm_core.privileged.server.registry import Registry\n"
        "registry = Registry(); registry.add('sample', operations_of(sample))\n"
        "held = capabilities.limit(registry.capabilities)\n"
        "print(capabilities.names_of(held), capabilities.names_of(capabilities.bounding()))\n"
        "roots = {sample.ROOT: sys.argv[1]}\n"
        "with serving(registry, roots=roots, held=held) as at, connected(at, 'sample', sample) as client:\n"
        "    try: client.run(sample.own, Entry('file'), 65534)\n"
        "    except Exception as error: print(error)\n"
        "    client.run(sample.own_with_power, Entry('file'), 65534)\n"
        "    print(client.run(sample.powers_of_command, 'name'))\n"
    )
    command = [sys.executable, "-c", program, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    first, second, *status = done.stdout.splitlines()
    assert first == "['CAP_CHOWN'] ['CAP_CHOWN']"
    assert second == "The operation failed: sample.own: Operation not permitted"
    assert (root / "file").stat().st_uid == NOBODY
    sets = {line.split(":")[0]: int(line.split()[1], 16) for line in status if line.startswith("Cap")}
    assert sets == {"CapInh": 0, "CapPrm": 1, "CapEff": 1, "CapBnd": 1, "CapAmb": 0}


@as_root
def test_a_capability_that_the_helper_lacks_is_named(registry: Registry, root: Path) -> None:
    """With the place where it is granted; the operation is not begun."""
    with (
        serving(registry, roots={sample.ROOT: str(root)}, held=0) as address,
        connected(address, "sample", sample) as client,
        pytest.raises(HelperUnavailable, match=r"does not hold CAP_CHOWN\. Add it to"),
    ):
        client.run(sample.own_with_power, Entry("file"), 1)


def test_commands(client: PrivilegedClient) -> None:
    """An operand stands behind `--`; output and time are bounded; the group is gone afterwards."""
    assert client.run(sample.run_echo, "name") == b"-- name"
    with pytest.raises(CommandFailed, match=r"/bin/sleep failed with code -9: it took longer than 0.2 s"):
        client.run(sample.run_slowly, 7.25)
    with pytest.raises(CommandFailed, match="it wrote more than 8388608 bytes"):
        client.run(sample.run_wordy)

    def sleeping() -> bool:
        words = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        return any(b"sleep\x007.25" in each for each in words)

    until(lambda: not sleeping())


def test_a_command_finds_a_clean_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the helper's environment reaches it."""
    monkeypatch.setenv("LD_PRELOAD_SAMPLE", "x")
    twin = sample.powers_of_command
    monkeypatch.setattr(twin, "capability_mask", 0)
    said = InProcess("sample", sample).run(twin, "name").splitlines()
    names = {line.partition("=")[0] for line in said if "=" in line and not line.startswith("Cap")}
    assert names - {"PWD", "SHLVL", "_"} == {"LC_ALL", "PATH"}
    assert said[-1] == "--"


def test_a_helper_that_is_reloaded_ends_when_nothing_runs(registry: Registry, root: Path) -> None:
    """What runs is not cut off."""
    with (
        serving(registry, roots={sample.ROOT: str(root)}) as address,
        connected(address, "sample", sample) as client,
    ):
        ended: list[str] = []

        def wait() -> None:
            client.run(sample.wait_for, Entry("mark"), 0.5)
            ended.append("in order")

        caller = threading.Thread(target=wait)
        caller.start()
        until((root / "mark").exists)
        client.reload()
        caller.join()
        assert ended == ["in order"]
        until(lambda: not accepts(address))


def accepts(address: str) -> bool:
    """Whether a process replies there."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.2)
        probe.connect(address)
        try:
            probe.sendall(b"\0\0\0\1\xc0")
            return bool(probe.recv(1))
        except OSError:
            return False
