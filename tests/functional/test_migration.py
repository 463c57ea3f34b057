"""A running guest moves between two hosts, by the verbs of two daemons."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.daemon import CONFIG, Daemon
from tests.functional.lab import ADDRESSES, BootFiles, LabHost, LabPair
from tests.functional.peers import BOOT, FAST, MOVE, SLOW, sent
from tests.functional.subscribers import XmlRpcPoll
from vdsm_bridge.testing.polling import until

pytestmark = [pytest.mark.functional, pytest.mark.slow]

VIRT = """\
[plugin.virt]
kept_custom = ["purpose"]
migration_uri = "qemu+tcp://{{{{host}}}}/system"
shared_folders = ["{shared}"]
"""


class Side:
    """A host, its daemon, and the events of its subscribers."""

    def __init__(self, host: LabHost, address: str, folder: Path, shared: Path) -> None:
        self.host = host
        self.address = address
        folder.mkdir()
        self.daemon = Daemon(folder, host.uri, CONFIG + VIRT.format(shared=shared))
        self.subscriber = XmlRpcPoll(self.daemon)

    def status(self, vm_id: str) -> str:
        """The machine's status; empty if it is not there."""
        machines = {vm["vmId"]: vm["status"] for vm in self.daemon.rest("GET", "/api/vms")}
        return str(machines.get(vm_id, ""))

    def wait_for(self, vm_id: str, *statuses: str, within: float = 20.0) -> None:
        """Wait until the machine has one of these statuses."""
        until(
            lambda: self.status(vm_id) in statuses,
            within,
            every=0.1,
            what=f"one of {statuses}",
            detail=lambda: (self.status(vm_id), self.daemon.log()),
        )

    def statuses(self, vm_id: str) -> list[str]:
        """The statuses of the machine, from the events so far."""
        return [event["params"]["status"] for event in self.events(vm_id, "VM_status")]

    def events(self, vm_id: str, operation: str) -> list[dict[str, Any]]:
        """Events of one kind about the machine so far, in order."""
        wanted = f"|virt|{operation}|{vm_id}"
        return [event for event in self.subscriber.seen if event["id"] == wanted]

    def runs(self, vm_id: str) -> bool:
        """Whether libvirt itself runs the machine here."""
        return vm_id in self.host.virsh("list", "--uuid", "--state-running")

    def audited(self, verb: str) -> list[dict[str, Any]]:
        """The lines of the audit log about a verb."""
        lines = (self.daemon.folder / "state" / "audit.log").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["verb"] == verb]

    def status_of_migration(self, vm_id: str) -> dict[str, Any]:
        """The whole reply of VDSM's method, whatever became of the migration."""
        return self.daemon.reply("migrateStatus", vm_id)


class Engine:
    """What an engine does, over XML-RPC as the engines of VDSM's time: it calls verbs on two hosts."""

    def __init__(self, here: Side, there: Side, boot: BootFiles) -> None:
        self.here = here
        self.there = there
        self._boot = boot

    def create(self, name: str, **extra: Any) -> str:
        """A machine that has booted; its id."""
        vm_id = str(uuid.uuid4())
        disk = {"type": "disk", "device": "disk", "iface": "virtio", "format": "raw"}
        parameters = {
            "vmId": vm_id,
            "vmName": name,
            "memSize": 128,
            "kvmEnable": "false",
            "emulatedMachine": "q35",
            "kernel": str(self._boot.kernel),
            "initrd": str(self._boot.initrd),
            "kernelArgs": f"{self._boot.cmdline} lab.dirty",
            "custom": {"purpose": "lab"},
            "devices": [{**disk, "path": str(self.here.host.disk(vm_id))}],
            **extra,
        }
        self.here.daemon.xmlrpc("create", parameters)
        self.here.wait_for(vm_id, "Up", within=BOOT)
        until(
            lambda: self.here.host.statistics(vm_id).get("block.0.wr.bytes"),
            BOOT,
            every=0.1,
            detail=self.here.daemon.log,
        )
        return vm_id

    def announce(self, vm_id: str) -> None:
        """Have a place kept."""
        (info,) = self.here.daemon.xmlrpc("list", True, [vm_id])["vmList"]
        created = self.there.daemon.xmlrpc("migrationCreate", info)
        assert created["migrationPort"] == 0
        assert created["params"]["status"] == "Migration Destination"

    def send(self, vm_id: str, **extra: Any) -> None:
        """Begin the migration."""
        how = {"vmId": vm_id, "dst": f"{self.there.address}:54321", "dstqemu": self.there.address, **extra}
        assert self.here.daemon.xmlrpc("migrate", how) == {"progress": 0}

    def wait_until_it_moves(self, vm_id: str) -> None:
        """Wait until some of its memory has been sent."""
        until(
            lambda: sent(self.here.host, vm_id),
            MOVE,
            every=0.2,
            detail=self.here.daemon.log,
        )


@pytest.fixture
def engine(lab_pair: LabPair, boot: BootFiles, tmp_path: Path) -> Iterator[Engine]:
    """Two hosts with a daemon each, and who manages them."""
    shared = lab_pair.first.root / "disks"
    here, there = (
        Side(host, address, tmp_path / name, shared)
        for host, address, name in zip(
            (lab_pair.first, lab_pair.second), ADDRESSES, ("here", "there"), strict=True
        )
    )
    with here.daemon, there.daemon:
        for side in (here, there):
            side.subscriber.start()
            assert side.subscriber.listening.wait(20)
        yield Engine(here, there, boot)
        for side in (here, there):
            side.subscriber.stop()


def test_a_running_guest_moves(engine: Engine) -> None:
    """It runs on there, with all that is known of it; here it is down, and libvirt has forgotten it."""
    here, there = engine.here, engine.there
    vm_id = engine.create("moving")
    engine.announce(vm_id)
    engine.send(vm_id)
    there.wait_for(vm_id, "Up", within=MOVE)
    here.wait_for(vm_id, "Down")
    assert (here.runs(vm_id), there.runs(vm_id)) == (False, True)
    assert vm_id not in here.host.virsh("list", "--all", "--uuid")

    until(lambda: here.status_of_migration(vm_id)["migrationStats"]["status"] == "done", every=0.1)
    reply = here.status_of_migration(vm_id)
    assert (reply["status"]["code"], reply["progress"]) == (0, 100)
    assert reply["migrationStats"]["downtime"] > 0
    (stats,) = here.daemon.xmlrpc("getVmStats", vm_id)["statsList"]
    assert (stats["status"], stats["exitCode"], stats["exitReason"]) == ("Down", 0, 4)

    (info,) = there.daemon.xmlrpc("list", True, [vm_id])["vmList"]
    assert (info["vmName"], info["custom"]) == ("moving", {"purpose": "lab"})
    written = there.host.statistics(vm_id)["block.0.wr.bytes"]
    until(
        lambda: there.host.statistics(vm_id)["block.0.wr.bytes"] > written,
        every=0.1,
        what="the guest to go on",
    )

    until(lambda: here.statuses(vm_id)[-1] == "Down", every=0.1)
    assert here.statuses(vm_id)[-3:] == ["Up", "Migration Source", "Down"]
    until(lambda: there.statuses(vm_id)[-1] == "Up", every=0.1)
    assert there.statuses(vm_id) == ["WaitForLaunch", "Migration Destination", "Up"]
    assert here.events(vm_id, "VM_migration_status")[-1]["params"]["progress"] == 100
    passes = [event["params"]["iteration"] for event in here.events(vm_id, "VM_migration_iteration")]
    assert passes == list(range(1, len(passes) + 1)) != []
    (job,) = [event["params"] for event in here.events(vm_id, "VM_job_completed")]
    assert job["job"] == "migration-out"

    here.daemon.xmlrpc("destroy", vm_id)
    assert here.status(vm_id) == ""
    there.daemon.xmlrpc("destroy", vm_id)
    assert vm_id not in there.host.virsh("list", "--all", "--uuid")


def test_a_machine_that_is_not_moved_stays(engine: Engine) -> None:
    """Without the other host, and after a cancellation, the guest continues here, and nothing is there."""
    here, there = engine.here, engine.there
    vm_id = engine.create("staying")
    is_absent(engine, vm_id)
    is_cancelled(engine, vm_id)
    here.daemon.xmlrpc("destroy", vm_id)
    there.daemon.xmlrpc("destroy", vm_id)


def is_absent(engine: Engine, vm_id: str) -> None:
    """What went wrong is in the machine's statistics, an event, and the answer to the query."""
    here = engine.here
    # No process listens on this port.
    here.daemon.xmlrpc("migrate", {"vmId": vm_id, "dst": f"qemu+tcp://{engine.there.address}:9/system"})
    until(lambda: here.status_of_migration(vm_id)["status"]["code"] == 102, MOVE, every=0.1)
    here.wait_for(vm_id, "Up")
    assert here.runs(vm_id)
    (failed,) = until(lambda: here.events(vm_id, "VM_migration_failed"), every=0.1)
    assert failed["params"]["cancelled"] is False
    reason = failed["params"]["reason"]
    assert "unable to connect" in reason
    (stats,) = here.daemon.xmlrpc("getVmStats", vm_id)["statsList"]
    assert stats["migrationError"] == reason


def is_cancelled(engine: Engine, vm_id: str) -> None:
    """Neither queries nor the cancelling itself wait for the migration."""
    here, there = engine.here, engine.there
    engine.announce(vm_id)
    engine.send(vm_id, maxBandwidth=SLOW)
    engine.wait_until_it_moves(vm_id)
    assert here.status(vm_id) == "Migration Source"
    assert there.status(vm_id) == "Migration Destination"
    assert here.daemon.reply("pause", vm_id)["status"]["code"] == 51
    (stats,) = here.daemon.xmlrpc("getVmStats", vm_id)["statsList"]
    assert 0 <= int(stats["migrationProgress"]) < 100
    assert "migrationError" not in stats

    started = time.monotonic()
    here.daemon.xmlrpc("migrateCancel", vm_id)
    here.wait_for(vm_id, "Up")
    assert time.monotonic() - started < 30
    assert (here.runs(vm_id), there.runs(vm_id)) == (True, False)
    assert here.status_of_migration(vm_id)["status"]["code"] == 47
    until(lambda: len(here.events(vm_id, "VM_migration_failed")) == 2, every=0.1)
    assert here.events(vm_id, "VM_migration_failed")[-1]["params"]["cancelled"] is True
    there.wait_for(vm_id, "Down")
    assert here.daemon.reply("migrateCancel", vm_id)["status"]["code"] == 47


def restart_after_it_has_moved(engine: Engine, name: str) -> str:
    """Kill the daemon of the source in the middle of a slow migration; start it again when that has ended.

    :returns: the id of the machine
    """
    here, there = engine.here, engine.there
    vm_id = engine.create(name)
    engine.announce(vm_id)
    engine.send(vm_id, maxBandwidth=SLOW)
    engine.wait_until_it_moves(vm_id)
    here.daemon.kill()
    here.host.virsh("migrate-setspeed", vm_id, str(FAST))
    there.wait_for(vm_id, "Up", within=MOVE)
    until(lambda: vm_id not in here.host.virsh("list", "--all", "--uuid"), MOVE, every=0.1)
    here.daemon.start()
    return vm_id


def test_the_next_daemon_finds_that_it_is_over(engine: Engine) -> None:
    """What came of it is recorded and reported, although libvirt has nothing of the machine any more."""
    here, there = engine.here, engine.there
    vm_id = restart_after_it_has_moved(engine, "away")
    here.wait_for(vm_id, "Down")
    until(
        lambda: here.status_of_migration(vm_id).get("migrationStats", {}).get("status") == "done",
        every=0.1,
        detail=here.daemon.log,
    )
    (stats,) = here.daemon.xmlrpc("getVmStats", vm_id)["statsList"]
    assert (stats["status"], stats["exitCode"], stats["exitReason"]) == ("Down", 0, 4)
    assert here.audited("VM.migrate")[-1]["outcome"] == "done"
    here.daemon.xmlrpc("destroy", vm_id)
    assert here.status(vm_id) == ""
    there.daemon.xmlrpc("destroy", vm_id)
