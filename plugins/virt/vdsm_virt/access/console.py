"""The screen, the keyboard and the monitor of a machine."""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from vdsm_core.errors import HypervisorError
from vdsm_virt.access.errors import MonitorCommandFailed, ScreenshotFailed, SendKeysFailed
from vdsm_virt.access.keys import presses
from vdsm_virt.api.access import Screenshot
from vdsm_virt.errors import reason_of
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.refusals import as_machine, running

#: Milliseconds that a key is held: long enough for guests that poll.
_HELD: Final = 50


class Console:
    """Acts on the consoles of machines that run."""

    def __init__(self, machines: Machines) -> None:
        self._inventory = machines.inventory
        self._hypervisor = machines.hypervisor

    def screenshot(self, vm_id: str) -> Screenshot:
        """Return an image of the first screen."""
        running(self._inventory, vm_id, "take a screenshot of")
        try:
            with as_machine(self._hypervisor, vm_id, "take a screenshot of"):
                kind, image = self._hypervisor.screens.screenshot(vm_id)
        except HypervisorError as error:
            raise ScreenshotFailed(vm_id=vm_id, reason=reason_of(error)) from error
        return Screenshot(data=base64.b64encode(image).decode(), encoding="base64", mime_type=kind)

    def send_keys(self, vm_id: str, sequence: str) -> None:
        """Press keys one after the other."""
        running(self._inventory, vm_id, "press keys of")
        wanted = presses(sequence)
        try:
            with as_machine(self._hypervisor, vm_id, "press keys of"):
                for keys in wanted:
                    self._hypervisor.screens.press(vm_id, keys, _HELD)
        except HypervisorError as error:
            raise SendKeysFailed(vm_id=vm_id, reason=reason_of(error)) from error

    def monitor_command(self, vm_id: str, command: str) -> str:
        """Return QEMU's answer to a command: JSON of QMP, or a line of the human monitor."""
        running(self._inventory, vm_id, "command the monitor of")
        human = not command.lstrip().startswith("{")
        try:
            with as_machine(self._hypervisor, vm_id, "command the monitor of"):
                answer = self._hypervisor.screens.monitor(vm_id, command, human=human)
        except HypervisorError as error:
            raise MonitorCommandFailed(vm_id=vm_id, reason=reason_of(error)) from error
        if not human and (refusal := _refusal(answer)):
            raise MonitorCommandFailed(vm_id=vm_id, reason=refusal)
        return answer


class _Error(msgspec.Struct):
    desc: str


class _Answer(msgspec.Struct):
    error: _Error | None = None


def _refusal(answer: str) -> str:
    """Return why QEMU did not carry out a command of QMP; libvirt passes such an answer on."""
    try:
        error = msgspec.json.decode(answer, type=_Answer).error
    except msgspec.DecodeError:
        return ""
    return "" if error is None else error.desc
