"""Calls that only libvirt's driver of QEMU has."""

from __future__ import annotations

from typing import Any, Final

import libvirt
import libvirt_qemu

from vdsm_core.hypervisor.errors import OperationUnsupported

_DRIVER: Final = "QEMU"


def agent_command(domain: Any, command: str, seconds: int) -> str:
    """Return a guest agent's answer to a command.

    :param command: JSON
    :raises OperationUnsupported: the driver is not QEMU's
    """
    _insist(domain, "agent_command")
    return str(libvirt_qemu.qemuAgentCommand(domain, command, seconds, 0))


def monitor_command(domain: Any, command: str, *, human: bool) -> str:
    """Return what QEMU's monitor answers to a command.

    :param human: the command is a line of the human monitor, not JSON
    :raises OperationUnsupported: the driver is not QEMU's
    """
    _insist(domain, "monitor_command")
    flags = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP if human else 0
    return str(libvirt_qemu.qemuMonitorCommand(domain, command, flags))


def _insist(domain: Any, operation: str) -> None:
    driver = domain.connect().getType()
    if driver != _DRIVER:
        # The binding crashes the process there instead of raising an error.
        raise OperationUnsupported(
            operation=operation,
            reason=f"the driver is {driver}, not {_DRIVER}",
            libvirt_code=libvirt.VIR_ERR_NO_SUPPORT,
        )
