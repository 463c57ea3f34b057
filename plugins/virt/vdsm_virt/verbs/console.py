"""Verbs of `VM` on the console of a running machine."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_bridge.api.legacy import LegacyForm, LegacyMethod
from vdsm_core.types import UUID
from vdsm_virt.access.console import Console
from vdsm_virt.api.access import Screenshot
from vdsm_virt.api.scalars import Word
from vdsm_virt.verbs.vm import VM

#: A command of QEMU's monitor.
Command = Annotated[str, Meta(min_length=1, max_length=65_536)]


class Consoles(Namespace, group_of=VM):
    """Look at the screen, press keys, command QEMU."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @query(access="operator", since="1.0", legacy=LegacyForm(member="result"))
    def screenshot(self, vm_id: UUID) -> Screenshot:
        """Return an image of a machine's first screen.

        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises ScreenshotFailed: it has no screen
        """
        return self._console.screenshot(vm_id.lower())

    @action(since="1.0", legacy=LegacyMethod("sendkeys", args=("vmID", "keySequence")))
    def send_keys(self, vm_id: UUID, key_sequence: Word) -> None:
        """Press keys of a machine's keyboard.

        :param key_sequence: presses separated by spaces, such as `ctrl+alt+f2 r o o t enter`: Linux key names
            without `KEY_`; keys that are pressed together are joined by `+`
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises SendKeysFailed: the hypervisor refuses
        """
        self._console.send_keys(vm_id.lower(), key_sequence)

    @action(
        access="admin",
        since="1.0",
        legacy=LegacyMethod("monitorCommand", args=("vmID", "command"), reply="output"),
    )
    def monitor_command(self, vm_id: UUID, command: Command) -> str:
        """Give a command to QEMU's monitor, past libvirt, which may lose track of the machine by it.

        :param command: JSON of QMP, or a line of the human monitor
        :returns: QEMU's answer
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises MonitorCommandFailed: QEMU refuses the command
        """
        return self._console.monitor_command(vm_id.lower(), command)
