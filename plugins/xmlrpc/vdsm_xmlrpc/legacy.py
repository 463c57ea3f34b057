"""VDSM's own method names, as data: which verb each one is, its positional arguments, its reply.

Sources: the XML-RPC bindings of VDSM 3.1 to 4.1. A name is offered as soon as the verb it stands for is.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

#: An argument that VDSM accepted and ignored, such as the trailing `options` of many methods.
IGNORED: Final = ""


class LegacyMethod(msgspec.Struct, frozen=True, kw_only=True):
    """One method. Arguments are positional, in the order of `args`; those not given have their default."""

    verb: str
    #: The verb's parameter for each position.
    args: tuple[str, ...] = ()
    #: Where the result stands, beside `status`; empty: nowhere.
    reply: str = ""
    #: Members of the result that stand beside `status` themselves.
    lifted: tuple[str, ...] = ()
    #: "array": VDSM put the one result into an array.
    shape: Literal["plain", "array"] = "plain"
    #: Members of the reply that are always the same.
    fixed: dict[str, Any] = {}
    #: The sentence of success; empty: the verb's own, or "Done".
    message: str = ""
    #: The only argument is a struct; this member of it is the id of the object, the verb's first parameter.
    id_inside: str = ""
    #: The first position is a boolean; if true, this verb is meant, and the others are its parameters.
    verb_if_true: str = ""
    #: Name of that boolean, for messages.
    switch: str = ""


def _vm(verb: str, *args: str, **more: Any) -> LegacyMethod:
    return LegacyMethod(verb=f"VM.{verb}", args=("vmID", *args), **more)


def _host(verb: str, *args: str, **more: Any) -> LegacyMethod:
    return LegacyMethod(verb=f"Host.{verb}", args=args, **more)


def _task(verb: str, *args: str, **more: Any) -> LegacyMethod:
    # Tasks belonged to VDSM's storage side, whose sentence of success is another.
    return LegacyMethod(verb=f"Task.{verb}", args=("taskID", *args), message="OK", **more)


METHODS: Final[dict[str, LegacyMethod]] = {
    # The host
    "getVdsCapabilities": _host("getCapabilities", reply="info"),
    "getVdsHardwareInfo": _host("getHardwareInfo", reply="info"),
    "getVdsStats": _host("getStats", reply="info"),
    "getAllVmStats": _host("getAllVmStats", reply="statsList"),
    "ping": _host("ping"),
    "prepareForShutdown": _host("prepareForShutdown"),
    "setLogLevel": _host("setLogLevel", "level"),
    "setKsmTune": _host("setKsmTune", "tuningParams"),
    "setMOMPolicy": _host("setMOMPolicy", "policy"),
    "setMOMPolicyParameters": _host("setMOMPolicyParameters", "key_value_store"),
    "setHaMaintenanceMode": _host("setHaMaintenanceMode", "mode", "enabled"),
    "hostdevListByCaps": _host("hostdevListByCaps", "caps", reply="deviceList"),
    "hostdevChangeNumvfs": _host("hostdevChangeNumvfs", "deviceName", "numvfs"),
    "hostdevReattach": _host("hostdevReattach", "deviceName"),
    "getHostJobs": _host("getJobs", "job_type", "job_ids", reply="jobs"),
    "setSafeNetworkConfig": _host("setSafeNetworkConfig"),
    "setupNetworks": _host("setupNetworks", "networks", "bondings", "options"),
    "list": _host(
        "getVMList", "vmList", reply="vmList", switch="fullStatus", verb_if_true="Host.getVMFullList"
    ),
    # Tasks
    "getAllTasks": _host("getAllTasks", IGNORED, reply="tasks", message="OK"),
    "getAllTasksInfo": _host("getAllTasksInfo", reply="allTasksInfo", message="OK"),
    "getAllTasksStatuses": _host("getAllTasksStatuses", reply="allTasksStatus", message="OK"),
    "getTaskInfo": _task("getInfo", reply="TaskInfo"),
    "getTaskStatus": _task("getStatus", reply="taskStatus"),
    "stopTask": _task("stop"),
    "revertTask": _task("revert"),
    "clearTask": _task("clear"),
    # Machines
    "create": LegacyMethod(verb="VM.create", args=("vmParams",), id_inside="vmId", reply="vmList"),
    "destroy": _vm("destroy", message="Machine destroyed"),
    "shutdown": _vm(
        "shutdown", "delay", "message", "reboot", "timeout", "force", message="Machine shut down"
    ),
    "reset": _vm("reset"),
    "pause": _vm("pause", fixed={"output": [""]}),
    "cont": _vm("cont", fixed={"output": [""]}),
    "getVmStats": _vm("getStats", reply="statsList", shape="array"),
    "changeCD": _vm("changeCD", "driveSpec", reply="vmList"),
    "changeFloppy": _vm("changeFloppy", "driveSpec", reply="vmList"),
    "hotplugDisk": LegacyMethod(verb="VM.hotplugDisk", args=("params",), id_inside="vmId", reply="vmList"),
    "hotunplugDisk": LegacyMethod(
        verb="VM.hotunplugDisk", args=("params",), id_inside="vmId", reply="vmList"
    ),
    "hotplugNic": LegacyMethod(verb="VM.hotplugNic", args=("params",), id_inside="vmId", reply="vmList"),
    "hotunplugNic": LegacyMethod(verb="VM.hotunplugNic", args=("params",), id_inside="vmId", reply="vmList"),
    "hotplugMemory": LegacyMethod(
        verb="VM.hotplugMemory", args=("params",), id_inside="vmId", reply="vmList"
    ),
    "setNumberOfCpus": _vm("setNumberOfCpus", "numberOfCpus", reply="vmList"),
    "setBalloonTarget": _vm("setBalloonTarget", "target"),
    "vmSetCpuTunePeriod": _vm("setCpuTunePeriod", "period"),
    "vmSetCpuTuneQuota": _vm("setCpuTuneQuota", "quota"),
    "vmUpdateDevice": _vm("updateDevice", "params", reply="vmList"),
    "updateVmPolicy": LegacyMethod(verb="VM.updateVmPolicy", args=("params",), id_inside="vmId"),
    "setVmTicket": _vm("setTicket", "password", "ttl", "existingConnAction", "params"),
    "desktopLock": _vm("desktopLock"),
    "desktopLogin": _vm("desktopLogin", "domain", "username", "password"),
    "desktopLogoff": _vm("desktopLogoff", "force"),
    "sendHcCmdToDesktop": _vm("desktopSendHcCommand", "message"),
    "diskSizeExtend": _vm("diskSizeExtend", "driveSpecs", "newSize", reply="size"),
    "freeze": _vm("freeze"),
    "thaw": _vm("thaw"),
    "hibernate": _vm("hibernate", "hibernationVolHandle", message="Hibernation process starting"),
    "migrate": LegacyMethod(
        verb="VM.migrate",
        args=("params",),
        id_inside="vmId",
        fixed={"progress": 0},
        message="Migration in progress",
    ),
    "migrateCancel": _vm("migrateCancel", message="Migration process cancelled"),
    "migrateChangeParams": _vm("migrateChangeParams", "params"),
    # VDSM's own client of every release looks for `progress` beside `status`.
    "migrateStatus": _vm("getMigrationStatus", reply="migrationStats", lifted=("progress",)),
    "migrationCreate": LegacyMethod(
        verb="VM.migrationCreate", args=("params",), id_inside="vmId", lifted=("migrationPort", "params")
    ),
}
