"""The calls of VDSM's clients, with the arguments that they send: vdsClient of 3.1 and 3.6, and MOM.

One machine with a real guest has them all, in this order. Codes and members of the replies are as in VDSM.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from xmlrpc.client import ServerProxy

import pytest

from tests.functional.daemon import CONFIG, Daemon
from tests.functional.lab import BRIDGE, BootFiles, GuestAgent, LabHost
from tests.functional.site import BOOT, Site
from vdsm_bridge.testing.polling import until

pytestmark = [pytest.mark.functional, pytest.mark.slow]

#: VDSM's methods: the verb of each, its arguments, and the members of its reply.
TABLE: Final = Path(__file__).parents[2] / "plugins/xmlrpc/tests/vdsm_methods.txt"
MACHINE, OTHER, UNKNOWN = (str(uuid.uuid4()) for _ in range(3))
DISK, PLUGGED = "DISK", "PLUGGED"
MAC: Final = "52:54:00:c1:1e:01"
PLUGGED_NIC: Final = {
    "type": "interface",
    "device": "bridge",
    "network": BRIDGE,
    "nicModel": "pv",
    "macAddr": MAC,
}
IDS: Final = {name: str(uuid.uuid4()) for name in ("poolID", "domainID", "imageID", "volumeID")}
HANDLE: Final = ",".join(str(uuid.uuid4()) for _ in range(6))


class Call(NamedTuple):
    """One call: the method, its arguments, and the code that VDSM's reply has."""

    name: str
    arguments: tuple[Any, ...] = ()
    code: int = 0


CALLS: Final = [
    # vdsClient: the host.
    Call("ping"),
    Call("getVdsCapabilities"),
    Call("getVdsHardwareInfo"),
    Call("getVdsStats"),
    Call("setLogLevel", ("INFO",)),
    Call("setLogLevel", (20,)),
    Call("setLogLevel", ("20",)),
    Call("getAllTasksInfo"),
    Call("getAllTasksStatuses"),
    Call("getAllTasks"),
    Call("getTaskInfo", (UNKNOWN,), 401),
    Call("getTaskStatus", (UNKNOWN,), 401),
    Call("stopTask", (UNKNOWN,), 401),
    Call("revertTask", (UNKNOWN,), 401),
    Call("clearTask", (UNKNOWN,), 401),
    Call("hostdevListByCaps", (["pci"],)),
    Call("registerSecrets", ([],)),
    Call("unregisterSecrets", ([],)),
    Call("getHostJobs", ("virt", [])),
    Call("setHaMaintenanceMode", ("global", "true"), 40),
    Call("setMOMPolicy", ("(+ 1 1)",), 54),
    # vdsClient: the machine.
    Call("list"),
    Call("list", (True, [])),
    Call("list", ("true", [MACHINE])),
    Call("list", (False, [MACHINE])),
    Call("getVmStats", (MACHINE,)),
    Call("getAllVmStats"),
    Call("create", ({"vmId": MACHINE, "vmName": "again", "memSize": "64", "display": "vnc"},), 4),
    Call("pause", (MACHINE,)),
    Call("cont", (MACHINE,)),
    Call("setVmTicket", (MACHINE, "secret", "120", "disconnect", {})),
    Call("setVmTicket", (MACHINE, "secret", 120, "keep")),
    Call("sendkeys", (MACHINE, "ctrl+alt+f2")),
    Call("monitorCommand", (MACHINE, "info status")),
    Call("sendHcCmdToDesktop", (MACHINE, "echo"), 19),
    Call("desktopLogin", (MACHINE, "corp", "ann", "secret"), 19),
    Call("desktopLock", (MACHINE,), 19),
    Call("desktopLogoff", (MACHINE, "false"), 19),
    Call("changeCD", (MACHINE, DISK)),
    Call("changeCD", (MACHINE, "")),
    Call("changeFloppy", (MACHINE, "/nowhere/floppy"), 13),
    Call("hotplugNic", ({"vmId": MACHINE, "nic": PLUGGED_NIC},)),
    Call("hotunplugNic", ({"vmId": MACHINE, "nic": PLUGGED_NIC},)),
    Call(
        "hotplugDisk",
        (
            {
                "vmId": MACHINE,
                "drive": {
                    "type": "disk",
                    "device": "disk",
                    "iface": "virtio",
                    "format": "raw",
                    "path": PLUGGED,
                },
            },
        ),
    ),
    Call(
        "hotunplugDisk",
        ({"vmId": MACHINE, "drive": {"type": "disk", "device": "disk", "iface": "virtio", "path": PLUGGED}},),
    ),
    Call(
        "hotplugMemory",
        ({"vmId": MACHINE, "memory": {"type": "memory", "device": "memory", "size": 128, "node": 0}},),
        70,
    ),
    Call("vmUpdateDevice", (MACHINE, {"deviceType": "interface", "alias": "ALIAS", "linkActive": "true"})),
    Call("diskSizeExtend", (MACHINE, {**IDS, "device": "disk"}, "33554432"), 13),
    Call("getDiskAlignment", (MACHINE, {**IDS, "device": "disk"}), 44),
    Call("snapshot", (MACHINE, [{**IDS, "baseVolumeID": UNKNOWN}]), 48),
    Call("merge", (MACHINE, IDS, UNKNOWN, OTHER, "0", UNKNOWN), 13),
    Call("mergeStatus", (MACHINE,)),
    Call("diskReplicateStart", (MACHINE, IDS, IDS), 13),
    Call("diskReplicateFinish", (MACHINE, IDS, IDS), 13),
    Call("freeze", (MACHINE,)),
    Call("thaw", (MACHINE,)),
    Call("setNumberOfCpus", (MACHINE, "2")),
    Call("updateVmPolicy", ({"vmId": MACHINE, "vcpuLimit": "50"},)),
    Call("migrateStatus", (MACHINE,), 81),
    Call("migrateCancel", (MACHINE,), 47),
    Call("migrateChangeParams", (MACHINE, {"maxBandwidth": 10}), 81),
    Call("migrate", ({"vmId": MACHINE, "dst": "nowhere.example", "method": "online", "mode": "bogus"},), 91),
    # It begins, and no storage has its volumes: the guest goes on.
    Call("hibernate", (MACHINE, HANDLE)),
    Call("migrationCreate", ({"vmId": OTHER, "vmName": "comes", "memSize": "64"},)),
    Call("destroy", (OTHER,)),
    # MOM.
    Call("getVdsStats"),
    Call("list", (False, [])),
    Call("setBalloonTarget", (MACHINE, 100_000)),
    Call("setBalloonTarget", (MACHINE, 10**8), 53),
    Call("vmSetCpuTunePeriod", (MACHINE, 100_000), 62),
    Call("vmSetCpuTuneQuota", (MACHINE, 50_000), 62),
    Call("getIoTunePolicy", (MACHINE,)),
    Call("getIoTune", (MACHINE,)),
    Call("setIoTune", (MACHINE, [{"name": "vda", "ioTune": {"total_iops_sec": 1000}}])),
    Call("getAllVmIoTunePolicies"),
    Call("setMOMPolicyParameters", ({"balloonEnabled": "True"},), 54),
    Call("setKsmTune", ({"run": 9},), 71),
    # A machine that is not there, and the end.
    Call("getVmStats", (UNKNOWN,), 1),
    Call("pause", (UNKNOWN,), 1),
    Call("destroy", (UNKNOWN,), 1),
    Call("reset", (MACHINE,)),
    Call("shutdown", (MACHINE, "0", "good bye")),
    Call("shutdown", (MACHINE, "0", "good bye", "false", "5", "true")),
    Call("destroy", (MACHINE,)),
    Call("destroy", (MACHINE,), 1),
]
#: The code of a verb that the saving of a machine's state forbids.
SAVING: Final = 51
#: Members that VDSM's replies did not have: it never carried this out.
EXTRA: Final = {"monitorCommand": {"output"}}


def members() -> dict[str, tuple[str, list[str]]]:
    """VDSM's methods: the namespace, and the members of a successful reply; `?` is of some releases only."""
    found = {}
    for line in TABLE.read_text().splitlines():
        if line and not line.startswith("#"):
            call, _, reply = line.partition(" -> ")
            verb, name, *_arguments = call.split()
            found[name] = (verb.split(".")[0], reply.split())
    return found


@pytest.fixture
def site(lab_host: LabHost, boot: BootFiles, tmp_path: Path) -> Iterator[Site]:
    """A daemon, and the machine of all calls, as vdsClient creates it."""
    with Daemon(tmp_path, lab_host.uri, CONFIG) as daemon:
        site = Site(lab_host, boot.with_agent(), daemon)
        try:
            yield site
        finally:
            site.clean()


def test_every_call_of_the_clients(site: Site, lab_host: LabHost) -> None:
    """The code, and the members of the reply; of each all that is wrong is reported at once."""
    vm_id = site.create(
        "clients",
        memSize="128",
        maxVCpus="2",
        emulatedMachine="pc",
        devices=[
            {
                "type": "disk",
                "device": "disk",
                "iface": "virtio",
                "format": "raw",
                "path": str(lab_host.disk("clients")),
            },
            {"type": "disk", "device": "cdrom", "iface": "ide", "index": 2, "path": ""},
            {"type": "disk", "device": "floppy", "iface": "fdc", "path": ""},
            {"type": "interface", "device": "bridge", "network": BRIDGE, "nicModel": "pv"},
            {"type": "balloon", "device": "memballoon", "specParams": {"model": "virtio"}},
        ],
    )
    site.wait_until_booted(vm_id)
    GuestAgent(lab_host, vm_id).wait(BOOT)
    words = {
        MACHINE: vm_id,
        DISK: str(lab_host.disk("cd")),
        PLUGGED: str(lab_host.disk("plugged")),
        "ALIAS": next(
            device["alias"]
            for device in site.daemon.xmlrpc("list", True, [vm_id])["vmList"][0]["devices"]
            if device["deviceType"] == "interface"
        ),
    }
    known, wrong = members(), []
    with ServerProxy(site.daemon.xmlrpc_url) as proxy:
        for call in CALLS:
            reply = getattr(proxy, call.name)(*_filled(call.arguments, words))
            problem = _problem(call, reply, known[call.name][1])
            if problem:
                wrong.append(f"{call.name}{call.arguments}: {problem}")
            if call.name == "cont":
                site.wait_for(vm_id, "Up")
            elif call.name == "hibernate":
                # The guest goes on a moment before its state counts as not being saved any more.
                until(lambda: site.daemon.reply("cont", vm_id)["status"]["code"] != SAVING, 30.0, every=0.2)
    assert wrong == [], "\n".join(wrong)


def test_no_method_of_machines_is_missing() -> None:
    """Each old name of a verb of machines is among the calls."""
    machines = {name for name, (namespace, _) in members().items() if namespace == "VM"}
    assert machines - {call.name for call in CALLS} == set()


def _filled(value: Any, words: dict[str, str]) -> Any:
    """Return arguments with paths and aliases in the places of their words."""
    if isinstance(value, dict):
        return {name: _filled(member, words) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_filled(member, words) for member in value)
    return words.get(value, value) if isinstance(value, str) else value


def _problem(call: Call, reply: dict[str, Any], expected: list[str]) -> str:
    status = reply.pop("status")
    if status["code"] != call.code:
        return f"code {status['code']}, not {call.code}: {status['message']}"
    if not isinstance(status["message"], str) or not status["message"]:
        return "no message"
    if call.code:
        return f"members {sorted(reply)} of a refusal" if reply else ""
    needed = {name for name in expected if not name.endswith(("?", "*"))}
    allowed = {name.rstrip("?*") for name in expected}
    if not needed <= reply.keys() or reply.keys() - allowed - EXTRA.get(call.name, set()):
        return f"members {sorted(reply)}, not {expected}"
    return ""
