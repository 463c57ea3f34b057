"""Hooks of the host: start and end of the daemon, statistics, capabilities.

The `before` hooks of queries have no document: VDSM's was an empty object. Documents are JSON values: objects
are dictionaries with text as keys, arrays are lists. Nothing is converted for a hook without implementations.
"""

from __future__ import annotations

from typing import Any

from vdsm_core.hooks.declare import amend, check, notify


@notify
def vdsm_before_vdsm_start() -> None:
    """The daemon starts: plugins of hooks are loaded, no feature and no binding runs yet."""


@notify
def vdsm_after_vdsm_stop() -> None:
    """The daemon ends: no binding and no feature runs any more."""


@check
def vdsm_before_get_vm_stats(vm_id: str) -> None:
    """The statistics of a machine are requested.

    :raises VdsmError: to refuse; the caller gets this error
    """


@amend
def vdsm_after_get_vm_stats(stats: list[dict[str, Any]], vm_id: str) -> None:
    """Edit, in place, the statistics of a machine before the caller gets them. Errors are logged.

    :param stats: a list of one: the statistics, as `VM.getStats` returns them
    """


@check
def vdsm_before_get_all_vm_stats() -> None:
    """The statistics of all machines are requested.

    :raises VdsmError: to refuse; the caller gets this error
    """


@amend
def vdsm_after_get_all_vm_stats(stats: list[dict[str, Any]]) -> None:
    """Edit, in place, the statistics of all machines before the caller gets them. Errors are logged.

    :param stats: as `Host.getAllVmStats` returns them
    """


@check
def vdsm_before_get_stats() -> None:
    """The statistics of the host are requested.

    :raises VdsmError: to refuse; the caller gets this error
    """


@amend
def vdsm_after_get_stats(stats: dict[str, Any]) -> None:
    """Edit, in place, the statistics of the host before the caller gets them. Errors are logged.

    :param stats: as `Host.getStats` returns them
    """


@check
def vdsm_before_get_caps() -> None:
    """The capabilities of the host are requested.

    :raises VdsmError: to refuse; the caller gets this error
    """


@amend
def vdsm_after_get_caps(caps: dict[str, Any]) -> None:
    """Edit, in place, the capabilities of the host before the caller gets them. Errors are logged.

    :param caps: as `Host.getCapabilities` returns them
    """


@amend
def vdsm_after_hostdev_list_by_caps(devices: dict[str, Any]) -> None:
    """Edit, in place, the devices of the host before the caller gets them. Errors are logged.

    :param devices: as `Host.hostdevListByCaps` returns them: properties by the name of the device
    """
