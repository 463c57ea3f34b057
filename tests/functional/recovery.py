"""Operations on a real guest amid which the daemon or libvirt is killed, and what is true afterwards.

libvirt itself loses things when it is killed: it may not know a disk that QEMU has got, and QEMU then refuses
the next one ("Duplicate nodes"). Such a guest is replaced, and counted.
"""

from __future__ import annotations

import contextlib
import random
import threading
import uuid
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal
from xmlrpc.client import ServerProxy

from tests.functional.daemon import Daemon, Refused
from tests.functional.lab import BRIDGE
from tests.functional.live import BOOT, MIB, LiveSite, drive, ids
from vdsm_bridge.testing.polling import until
from vdsm_core.volumes import VolumeId

Victim = Literal["vdsmd", "libvirtd"]
#: Seconds for everything to be settled after both run again.
SETTLED = 90.0
SOURCES = ("file", "dev")


class Forgotten(Exception):
    """libvirt does not know any more what QEMU has."""


class Call(threading.Thread):
    """One call whose daemon may die meanwhile: of VDSM's XML-RPC interface, or of a verb of REST, "VM.x"."""

    def __init__(self, daemon: Daemon, method: str, *arguments: Any) -> None:
        super().__init__(name=method, daemon=True)
        self._daemon, self._method, self._arguments = daemon, method, arguments
        self._url = daemon.xmlrpc_url
        #: The code of the reply; None if there was none.
        self.code: int | None = None
        self.message = ""

    def run(self) -> None:
        """Call, and keep the reply."""
        try:
            if "." in self._method:
                self._daemon.rest("POST", f"/api/verbs/{self._method}", *self._arguments)
                self.code = 0
                return
            with ServerProxy(self._url) as proxy:
                reply: Any = getattr(proxy, self._method)(*self._arguments)
        except Refused as refused:
            self.code, self.message = refused.args[1]["code"], refused.args[1]["detail"]
        except (OSError, HTTPException) as error:
            self.message = str(error)
        else:
            self.code, self.message = reply["status"]["code"], reply["status"]["message"]


class Subject:
    """The guest that the operations are about; it outlives them all.

    :param chance: decides on what is done
    """

    def __init__(self, site: LiveSite, chance: random.Random) -> None:
        self.site = site
        self.chance = chance
        self.counts: Counter[str] = Counter()
        self.history: list[str] = []
        self._begin()

    def _begin(self) -> None:
        site = self.site
        self.base = site.storage.add(32 * MIB, "cow")
        self.medium = site.storage.add(MIB)
        self.id = site.create(
            f"kept-{uuid.uuid4().hex[:8]}",
            agent=True,
            emulatedMachine="pc",
            custom={"purpose": "recovery"},
            devices=[
                {"type": "disk", "device": "disk", "iface": "virtio", "format": "cow", **ids(self.base)},
                {"type": "disk", "device": "cdrom", "iface": "ide", "path": ""},
            ],
        )
        site.agent(self.id)
        self.pid = site.host.qemu_pid(self.id)
        #: Machines of `create` and `destroy`, until they are gone.
        self.others: list[str] = []

    @property
    def kills(self) -> int:
        """How often one of the two was killed, and everything was as it has to be."""
        return self.counts["vdsmd killed"] + self.counts["libvirtd killed"]

    # Operations: each prepares what it needs, and returns the call amid which one of them is killed.

    def operations(self) -> dict[str, Callable[[], tuple[Any, ...]]]:
        """All operations, by name."""
        return {
            "hotplugDisk": self._hotplug_disk,
            "hotunplugDisk": self._hotunplug_disk,
            "hotplugNic": self._hotplug_nic,
            "hotunplugNic": self._hotunplug_nic,
            "changeCD": lambda: ("changeCD", self.id, {"iface": "ide", "drive_spec": ids(self.medium)}),
            "ejectCD": self._eject,
            "snapshot": self._snapshot,
            "snapshot with memory": self._snapshot_with_memory,
            "merge": self._merge,
            "start_backup": self._start_backup,
            "stop_backup": self._stop_backup,
            "diskReplicateStart": self._replicate,
            "diskReplicateFinish": self._finish,
            "pause": lambda: ("pause", self.id),
            "cont": self._cont,
            "setIoTune": self._tune,
            "create": self._create,
            "destroy": self._destroy,
        }

    def _drive(self, volume: VolumeId) -> dict[str, Any]:
        return {
            "vmId": self.id,
            "drive": {"type": "disk", "device": "disk", "iface": "virtio", "format": "cow", **ids(volume)},
        }

    def _hotplug_disk(self) -> tuple[Any, ...]:
        return "hotplugDisk", self._drive(self.site.storage.add(8 * MIB, "cow"))

    def _hotunplug_disk(self) -> tuple[Any, ...]:
        volume = self.site.storage.add(8 * MIB, "cow")
        self.now("hotplugDisk", self._drive(volume))
        return "hotunplugDisk", self._drive(volume)

    def _nic(self) -> dict[str, Any]:
        mac = f"52:54:00:{self.chance.randrange(256):02x}:{self.chance.randrange(256):02x}:01"
        return {"vmId": self.id, "nic": {"network": BRIDGE, "macAddr": mac, "nicModel": "pv"}}

    def _hotplug_nic(self) -> tuple[Any, ...]:
        return "hotplugNic", self._nic()

    def _hotunplug_nic(self) -> tuple[Any, ...]:
        nic = self._nic()
        self.now("hotplugNic", nic)
        return "hotunplugNic", nic

    def _eject(self) -> tuple[Any, ...]:
        self.now("changeCD", self.id, {"iface": "ide", "drive_spec": ids(self.medium)})
        return "changeCD", self.id, {"iface": "ide", "path": ""}

    def _leaf(self) -> VolumeId:
        """The volume that the guest writes to."""
        disk = self.site.disk(self.id)
        return VolumeId(
            pool_id=disk["poolID"],
            domain_id=disk["domainID"],
            image_id=disk["imageID"],
            volume_id=disk["volumeID"],
        )

    def _snapshot(self) -> tuple[Any, ...]:
        leaf = self._leaf()
        return "snapshot", self.id, [drive(leaf, self.site.storage.add(parent=leaf))]

    def _snapshot_with_memory(self) -> tuple[Any, ...]:
        memory, configuration = self.site.storage.add(MIB), self.site.storage.add(MIB)
        handle = (memory.domain_id, memory.pool_id, memory.image_id, memory.volume_id)
        return *self._snapshot(), ",".join((*handle, configuration.image_id, configuration.volume_id))

    def _merge(self) -> tuple[Any, ...]:
        self.now(*self._snapshot())
        leaf = self._leaf()
        base = self.site.chain(self.id)[1]
        return "merge", self.id, ids(leaf), base, leaf.volume_id, "0", str(uuid.uuid4())

    def _start_backup(self) -> tuple[Any, ...]:
        disk = {name: value for name, value in ids(self._leaf()).items() if name != "poolID"}
        return "VM.start_backup", {
            "vmID": self.id,
            "config": {"backup_id": str(uuid.uuid4()), "disks": [disk]},
        }

    def _stop_backup(self) -> tuple[Any, ...]:
        name, arguments = self._start_backup()
        self.now(name, arguments)
        return "VM.stop_backup", {"vmID": self.id, "backup_id": arguments["config"]["backup_id"]}

    def _replicate(self) -> tuple[Any, ...]:
        leaf = self._leaf()
        # As VDSM requires it, the destination has a chain of the same length.
        target = self.site.storage.add(32 * MIB, "cow")
        for _ in self.site.chain(self.id)[1:]:
            target = self.site.storage.add(parent=target)
        return "diskReplicateStart", self.id, ids(leaf), ids(target)

    def _finish(self) -> tuple[Any, ...]:
        _, vm_id, source, target = self._replicate()
        self.now("diskReplicateStart", vm_id, source, target)
        until(self._has_mirrored, BOOT, every=0.1)
        return "diskReplicateFinish", vm_id, source, target

    def _has_mirrored(self) -> bool:
        document = self.document(self.id)
        return document is not None and document.find("devices/disk/mirror[@ready='yes']") is not None

    def _cont(self) -> tuple[Any, ...]:
        self.now("pause", self.id)
        return "cont", self.id

    def _tune(self) -> tuple[Any, ...]:
        tune = {"total_bytes_sec": self.chance.randrange(1, 100) * MIB}
        return "setIoTune", self.id, [{"name": "vda", "ioTune": tune}]

    def _create(self) -> tuple[Any, ...]:
        vm_id = str(uuid.uuid4())
        self.others.append(vm_id)
        volume = self.site.storage.add(8 * MIB, "cow")
        return (
            "create",
            {
                "vmId": vm_id,
                "vmName": f"other-{vm_id[:8]}",
                "memSize": 32,
                "kvmEnable": "false",
                "emulatedMachine": "pc",
                "launchPaused": "true",
                "custom": {"purpose": "recovery"},
                "devices": [
                    {"type": "disk", "device": "disk", "iface": "virtio", "format": "cow", **ids(volume)}
                ],
            },
        )

    def _destroy(self) -> tuple[Any, ...]:
        self.now(*self._create())
        self.site.wait(self.others[-1], "Paused")
        return "destroy", self.others[-1]

    def now(self, method: str, *arguments: Any) -> None:
        """Call a method that has to succeed."""
        call = Call(self.site.daemon, method, *arguments)
        call.run()
        _check(call)
        assert call.code == 0, (method, call.message)

    # What has to be true afterwards.

    def document(self, vm_id: str) -> ET.Element | None:
        """libvirt's document of a machine; None if it has none."""
        if vm_id not in self.site.host.virsh("list", "--all", "--uuid"):
            return None
        return ET.fromstring(self.site.host.virsh("dumpxml", vm_id))

    def used(self, vm_id: str) -> set[str]:
        """The volumes that QEMU has open as the leaves of disks, or writes a mirror to."""
        document = self.document(vm_id)
        if document is None or vm_id not in self.site.host.virsh("list", "--uuid"):
            return set()
        return {
            Path(path).name
            for disk in document.iterfind("devices/disk")
            for source in (*disk.iterfind("source"), *disk.iterfind("mirror[@job='copy']/source"))
            if (path := _path(source))
        }

    def faults(self) -> list[str]:
        """What is not as it has to be, yet or at all."""
        return [fault for vm_id in (self.id, *self.others) for fault in self._faults(vm_id)]

    def _faults(self, vm_id: str) -> Iterator[str]:
        site = self.site
        (found,) = site.daemon.xmlrpc("list", True, [vm_id])["vmList"] or [None]
        document = self.document(vm_id)
        state = site.host.virsh("domstate", vm_id).strip() if document is not None else "absent"
        if found is None:
            if vm_id == self.id or document is not None:
                yield f"{vm_id} is {state}, and not in the list"
        else:
            if found.get("custom", {}).get("purpose") != "recovery":
                yield f"{vm_id} has lost its metadata: {found.get('custom')}"
            expected = {"running": ("Up", "Powering up"), "paused": ("Paused",)}.get(state, ("Down",))
            if found["status"] not in expected:
                yield f"{vm_id} is {state} and shown as {found['status']}"
            if state in ("running", "paused"):
                # A start that failed leaves a definition whose disks no storage has prepared.
                yield from self._devices(found, document)
        if vm_id == self.id and site.host.qemu_pid(vm_id) != self.pid:
            yield f"another process runs {vm_id}"
        yield from self._leftovers(vm_id, document, state)

    def _leftovers(self, vm_id: str, document: ET.Element | None, state: str) -> Iterator[str]:
        """What is prepared or works for a machine, and should not."""
        site = self.site
        prepared, used = site.storage.prepared(vm_id), self.used(vm_id)
        if prepared != used:
            yield f"{vm_id} uses {used}, and prepared is {prepared}"
        backing_up = self._backs_up(vm_id, state)
        lasting = ("VM.start_backup",) if backing_up else ()
        if document is not None and document.find("devices/disk/mirror[@job='copy']") is not None:
            lasting += ("VM.diskReplicateStart",)
        work = [each for each in site.daemon.rest("GET", "/api/host/queues") if vm_id in each["lane"]]
        if rest := [each for each in work if each["call"] not in lasting]:
            yield f"work goes on: {rest}"
        scratch = [str(path) for path in (site.daemon.folder / "transient" / vm_id).rglob("*.*")]
        if vm_id == self.id and scratch and not backing_up:
            yield f"scratch volumes of a backup are left: {scratch}"

    def _devices(self, found: dict[str, Any], document: ET.Element | None) -> Iterator[str]:
        """Compare the disks that the API shows with those of libvirt."""
        if document is None:
            return
        shown = {
            each["name"]: each.get("volumeID", "") for each in found["devices"] if each["type"] == "disk"
        }
        real = {}
        for disk in document.iterfind("devices/disk"):
            source, target = disk.find("source"), disk.find("target")
            assert target is not None
            path = _path(source) if source is not None else ""
            real[target.get("dev", "")] = Path(path).name if path else ""
        if shown != real:
            yield f"disks are {real}, and shown as {shown}"

    def _backs_up(self, vm_id: str, state: str) -> bool:
        if state not in ("running", "paused"):
            return False
        # virsh fails if there is none.
        return self.site.host.answers("backup-dumpxml", vm_id)

    def tidy(self) -> None:
        """End what an operation is allowed to leave, through the API."""
        site = self.site
        if site.stats(self.id)["status"] == "Paused":
            self.now("cont", self.id)
        document = self.document(self.id)
        assert document is not None
        if self._backs_up(self.id, "running"):
            backup = ET.fromstring(site.host.virsh("backup-dumpxml", self.id))
            socket = backup.find("server")
            assert socket is not None
            backup_id = Path(socket.get("socket", "")).name
            self.now("VM.stop_backup", {"vmID": self.id, "backup_id": backup_id})
        if document.find("devices/disk/mirror[@job='copy']") is not None:
            leaf = ids(self._leaf())
            self.now("diskReplicateFinish", self.id, leaf, leaf)
        for disk in site.daemon.rest("GET", f"/api/vms/{self.id}")["devices"]:
            if disk["type"] == "disk" and disk["device"] == "cdrom" and disk.get("volumeID"):
                self.now("changeCD", self.id, {"iface": "ide", "path": ""})
            elif disk["type"] == "disk" and disk["name"] not in ("vda", "hdc", "hda"):
                self.now("hotunplugDisk", {"vmId": self.id, "drive": disk})
            elif disk["type"] == "interface":
                self.now("hotunplugNic", {"vmId": self.id, "nic": {"macAddr": disk["macAddr"]}})
        for vm_id in [*self.others]:
            if site.daemon.xmlrpc("list", True, [vm_id])["vmList"]:
                self.now("destroy", vm_id)
            assert self.document(vm_id) is None
            assert site.storage.prepared(vm_id) == set()
            self.others.remove(vm_id)
        until(lambda: not self.faults(), SETTLED, every=0.2, detail=self.faults)

    # Kills.

    def kill(self, victim: Victim) -> None:
        """Kill one of the two, and start it again."""
        if victim == "vdsmd":
            self.site.daemon.kill()
            self.site.daemon.start()
        else:
            self.site.host.stop(abruptly=True)
            self.site.host.start(60)
        until(self._is_back, SETTLED, every=0.1, detail=self.site.daemon.log)

    def _is_back(self) -> bool:
        with contextlib.suppress(Refused, OSError):
            if self.site.stats(self.id)["status"] not in ("Up", "Powering up", "Paused"):
                return False
        # The daemon shows what it knows of the machine; what changes it needs libvirt.
        call = Call(self.site.daemon, *self._tune())
        call.run()
        return call.code is not None and "cannot be reached" not in call.message

    def round(self) -> None:
        """Carry out one operation, kill one of the two at some moment, and look at everything."""
        operations = self.operations()
        name = self.chance.choice(sorted(operations))
        victim: Victim = self.chance.choice(("vdsmd", "libvirtd"))
        delay = self.chance.random() ** 2 * 0.8
        self.history.append(f"{name}, and {victim} is killed after {delay:.3f} s")
        try:
            self._carry_out(name, operations[name], victim, delay)
            self.tidy()
        except Forgotten as error:
            self.history[-1] += f": {error}"
            self._replace()

    def _replace(self) -> None:
        """Replace a guest that libvirt has lost something of."""
        self.counts["guests replaced"] += 1
        for vm_id in (self.id, *self.others):
            if self.site.daemon.xmlrpc("list", True, [vm_id])["vmList"]:
                self.now("destroy", vm_id)
            assert self.site.storage.prepared(vm_id) == set(), "what is destroyed uses nothing"
        self._begin()

    def _carry_out(
        self, name: str, prepare: Callable[[], tuple[Any, ...]], victim: Victim, delay: float
    ) -> None:
        method, *arguments = prepare()
        call = Call(self.site.daemon, method, *arguments)
        call.start()
        call.join(delay)
        answered = call.code is not None
        _check(call)
        self.kill(victim)
        call.join(BOOT)
        assert not call.is_alive(), f"{method} does not end"
        self.history[-1] += f": {'' if answered else 'not '}answered before; {call.code} {call.message}"
        until(lambda: not self.faults(), SETTLED, every=0.2, detail=self.faults)
        self.counts[f"{victim} killed"] += 1
        self.counts[f"{'after' if answered else 'amid'} the call"] += 1
        self.counts[name] += 1


def _check(call: Call) -> None:
    """Raise the error of a call that was refused.

    :raises Forgotten: because of what libvirt has lost
    """
    if "Duplicate nodes" in call.message:
        raise Forgotten(call.message)
    assert call.code in (None, 0), (call.name, call.code, call.message)


def _path(source: ET.Element) -> str:
    """The path that a source of libvirt's names; empty if it names none."""
    return next((source.attrib[name] for name in SOURCES if name in source.attrib), "")
