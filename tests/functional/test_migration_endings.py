"""How a migration from host to host may end: `VM.migrate` on the source alone, over TLS.

In every ending exactly one host runs the machine, and both APIs report the same. How the memory is sent is
tested here, too: encrypted, over several connections, and after the guest. These tests share the hosts.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.functional.lab import BootFiles, LabPair
from tests.functional.peers import ABSENT, OLDER, WITHOUT_VIRT, XMLRPC, XMLRPC_HERE, Hosts, daemon_in, stopped
from tests.settled import Held
from vdsm_bridge.testing.polling import until

pytestmark = [pytest.mark.functional, pytest.mark.slow]


@pytest.fixture(scope="module")
def hosts(lab_pair: LabPair, boot: BootFiles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Two hosts with a daemon each."""
    with Hosts.open(lab_pair, boot, tmp_path_factory.mktemp("hosts")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def settled(hosts: Hosts) -> Iterator[None]:
    """A test leaves nothing behind but daemons of the hosts that it has started again."""
    before = Held.now()
    yield
    daemons = {f"vdsmd ({peer.daemon.pid})" for peer in (hosts.here, hosts.there)}
    if left := replace(before, children=before.children | daemons).left_since():
        pytest.fail(f"left behind: {left}")


@pytest.fixture
def vm_id(hosts: Hosts) -> str:
    """A machine that runs on the source, and writes its memory faster than `SLOW`."""
    return hosts.machine()


def test_the_destination_refuses(hosts: Hosts, vm_id: str) -> None:
    """A name that is taken there: the status is the destination's, with its code."""
    name = hosts.here.stats(vm_id)["vmName"]
    other = "00000000-0000-4000-8000-000000000001"
    hosts.there.call("migration-create", other, params={"vmName": name})
    hosts.send(vm_id)
    failure = hosts.here.failure(vm_id)
    assert (failure["code"], failure["slug"]) == (4, "destination-refused")
    assert "vmName" in failure["detail"]
    hosts.there.destroy(other)
    hosts.runs_here_only(vm_id)


def test_the_destination_is_older(hosts: Hosts, vm_id: str, tmp_path: Any) -> None:
    """One that lacks the verb: the reason names it."""
    older = daemon_in(
        hosts.there.host, tmp_path / "older", WITHOUT_VIRT,
        uri="test:///default", OWN=OLDER, OTHER=hosts.here.address,
    )  # fmt: skip
    with older:
        hosts.send(vm_id, dst=OLDER)
        failure = hosts.here.failure(vm_id)
    assert "migrationCreate" in failure["detail"]
    hosts.runs_here_only(vm_id)


def test_the_destination_is_away(hosts: Hosts, vm_id: str) -> None:
    """Nothing listens at its address."""
    hosts.send(vm_id, dst=ABSENT)
    failure = hosts.here.failure(vm_id)
    assert "efused" in failure["detail"], failure
    hosts.runs_here_only(vm_id)


def test_the_destination_answers_late(hosts: Hosts, vm_id: str) -> None:
    """It is not waited for longer than `peer_timeout`, and what it was asked for is nothing then."""
    with stopped(hosts.there.daemon.pid):
        hosts.send(vm_id)
        failure = hosts.here.failure(vm_id)
        assert hosts.here.status(vm_id) == "Up"
    assert "within" in failure["detail"] or "timed out" in failure["detail"], failure
    hosts.runs_here_only(vm_id)


def test_cancelled_half_way(hosts: Hosts, vm_id: str) -> None:
    """The place there is given up; the status has the code of a cancellation."""
    hosts.send_half_way(vm_id)
    hosts.here.call("migrate-cancel", vm_id)
    assert hosts.here.failure(vm_id)["code"] == 47
    hosts.runs_here_only(vm_id)
    until(lambda: hosts.there.status(vm_id) == "", detail=hosts.there.daemon.log)


def test_the_qemu_of_the_destination_is_killed(hosts: Hosts, vm_id: str) -> None:
    """The machine continues here, and the status has libvirt's reason."""
    hosts.send_half_way(vm_id)
    os.kill(hosts.there.host.qemu_pid(vm_id), signal.SIGKILL)
    assert hosts.here.failure(vm_id)["code"] == 102
    hosts.runs_here_only(vm_id)


def test_the_libvirtd_of_the_destination_is_killed(hosts: Hosts, vm_id: str) -> None:
    """It ends what had not arrived when it starts again; until then nothing runs there."""
    hosts.send_half_way(vm_id)
    hosts.there.host.stop(abruptly=True)
    try:
        assert hosts.here.failure(vm_id)["code"] == 102
        hosts.here.wait_for(vm_id, "Up")
    finally:
        hosts.there.host.start()
    hosts.runs_here_only(vm_id)


def test_the_daemon_of_the_destination_is_killed(hosts: Hosts, vm_id: str) -> None:
    """libvirt carries on; the next daemon there shows the machine arriving, until it is cancelled."""
    hosts.send_half_way(vm_id)
    hosts.there.daemon.kill()
    hosts.there.daemon.start()
    hosts.wait_until_half_way(vm_id)
    hosts.here.call("migrate-cancel", vm_id)
    assert hosts.here.failure(vm_id)["code"] == 47
    hosts.runs_here_only(vm_id)


def test_the_cable_is_cut(hosts: Hosts, vm_id: str) -> None:
    """The machine continues here before the cable is mended, and is nowhere else afterwards."""
    hosts.send_half_way(vm_id)
    hosts.pair.cut()
    try:
        failure = hosts.here.failure(vm_id)
        hosts.here.wait_for(vm_id, "Up")
        assert hosts.there.state(vm_id) in ("paused", "")
        assert failure["code"] == 102, failure
    finally:
        hosts.pair.mend()
    hosts.runs_here_only(vm_id)


def test_the_daemon_of_the_source_is_killed_and_the_next_one_cancels(hosts: Hosts, vm_id: str) -> None:
    """The next daemon cancels, and gives up the place that the one before it has reserved."""
    restart_half_way(hosts, vm_id)
    assert hosts.here.refusal("pause", vm_id)["code"] == 51
    assert hosts.here.daemon.rest("GET", "/api/host/all-tasks") == {}
    hosts.here.call("migrate-cancel", vm_id)
    assert hosts.here.failure(vm_id)["code"] == 47
    ended = hosts.here.audit("VM.migrate")[-1]
    assert (ended["outcome"], ended["object"]) == ("task-aborted", vm_id)
    hosts.runs_here_only(vm_id)
    until(lambda: hosts.there.status(vm_id) == "", detail=hosts.there.daemon.log)


def test_the_daemon_of_the_source_is_killed_and_the_machine_moves(hosts: Hosts, vm_id: str) -> None:
    """The next daemon lets it move; it returns over XML-RPC, called on the host that it is on."""
    restart_half_way(hosts, vm_id)
    assert hosts.here.refusal("migrate", vm_id, params={"dst": XMLRPC})["code"] == 4
    hosts.hurry(vm_id)
    hosts.runs_there_only(vm_id)
    assert hosts.here.progress(vm_id)["status"] == "done"
    hosts.send_back(vm_id, XMLRPC_HERE)
    assert "xmlrpc" in [line["binding"] for line in hosts.here.audit("VM.migrationCreate")]


def restart_half_way(hosts: Hosts, vm_id: str) -> None:
    """Kill the daemon of the source half way, and start it again."""
    hosts.send_half_way(vm_id, dst=XMLRPC)
    hosts.here.daemon.kill()
    hosts.here.daemon.start()
    hosts.wait_until_half_way(vm_id)


def test_encrypted_over_several_connections(hosts: Hosts, vm_id: str) -> None:
    """QEMU sends the memory over two connections with TLS, and checks the name in the certificate."""
    hosts.send_half_way(vm_id, encrypted=True, parallel=2)
    settings = hosts.here.host.virsh("qemu-monitor-command", vm_id, "--hmp", "info migrate_parameters")
    parameters = dict(line.split(": ", 1) for line in settings.splitlines() if ": " in line)
    assert parameters["tls-creds"].strip(" '") != ""
    assert parameters["tls-hostname"].strip(" '") == hosts.there.address
    assert parameters["multifd-channels"].strip() == "2"
    hosts.hurry(vm_id)
    hosts.runs_there_only(vm_id)
    hosts.send_back(vm_id)


#: MiB/s at which the first pass over the memory takes some seconds: the guest has written 16 MiB by its end,
#: and the second pass takes longer than it takes to act on its begin.
PASSES = {"maxBandwidth": 10}


def schedule(action: str) -> dict[str, Any]:
    """Return a schedule that acts when the first pass over the memory has not been enough."""
    return {
        "init": [{"name": "setDowntime", "params": [1]}],
        "stalling": [{"limit": 0, "action": {"name": action, "params": []}}],
    }


def test_a_schedule_that_gives_up(hosts: Hosts, vm_id: str) -> None:
    """The guest writes faster than its memory is sent: the schedule ends the migration."""
    hosts.send(vm_id, convergenceSchedule=schedule("abort"), **PASSES)
    assert "writes faster" in hosts.here.failure(vm_id)["detail"]
    hosts.runs_here_only(vm_id)


def test_post_copy(hosts: Hosts, vm_id: str) -> None:
    """The guest continues there before its memory is; here it is down, and never runs again."""
    hosts.send(vm_id, convergenceSchedule=schedule("postcopy"), **PASSES)
    hosts.runs_there_only(vm_id)
    until(lambda: (hosts.here.progress(vm_id) or {}).get("status") == "done", detail=hosts.here.daemon.log)
    assert "continues on the destination, its memory follows" in hosts.here.daemon.log()
    hosts.send_back(vm_id)
