"""Verbs of `VM` on the definition that a machine has, running or not. None of them is VDSM's."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_core.types import UUID
from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.definition_changes import DefinitionChanges
from vdsm_virt.definitions.autostart import Autostart
from vdsm_virt.definitions.editor import Editor
from vdsm_virt.definitions.launches import KeptLaunches
from vdsm_virt.machine.control import Control
from vdsm_virt.machine.describe import definition
from vdsm_virt.verbs.vm import VM

#: A document of libvirt.
DomainXML = Annotated[str, Meta(min_length=1, max_length=2**20)]
MachineName = Annotated[str, Meta(min_length=1, max_length=247)]


class Definitions(Namespace, group_of=VM):
    """Start a machine again, edit and rename it, adopt one of another client, forget one."""

    def __init__(
        self, launches: KeptLaunches, editor: Editor, autostart: Autostart, control: Control
    ) -> None:
        self._launches = launches
        self._editor = editor
        self._autostart = autostart
        self._control = control

    @action(since="1.0", done="Machine started")
    def start(self, vm_id: UUID, *, launch_paused: bool = False) -> VmDefinition:
        """Start a machine that is down, from the definition that is kept of it.

        Returns at once; the machine is started in the background. Its status and events report the result.
        A medium that was made of a payload is not there any more: its drive is empty.

        :param launch_paused: its processors do not run until `VM.cont`
        :returns: the machine, in status "WaitForLaunch"
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMNotDown: it is not down
        :raises CannotStartVM: it has no definition here, was migrated away, or its state was saved
        """
        return definition(self._launches.start(vm_id.lower(), paused=launch_paused))

    @action(since="1.0", name="setAutostart")
    def set_autostart(self, vm_id: UUID, enabled: bool) -> None:
        """Have the daemon start the machine once after each boot of the host, or not.

        The definition is checked again before each such start.

        :param enabled: whether to start it; false also ends an autostart of libvirt itself
        :raises NoSuchVM: no machine of this id is on the host
        :raises NotAdopted: another client of libvirt defined it
        :raises AutostartRefused: it has a lease, or disks that another host may use
        """
        self._autostart.set(vm_id.lower(), enabled=enabled)

    @query(since="1.0", name="getAutostart")
    def get_autostart(self, vm_id: UUID) -> bool:
        """Return whether a machine is started with the host, by the daemon or by libvirt.

        :raises NoSuchVM: no machine of this id is on the host
        """
        return self._autostart.get(vm_id.lower())

    @query(since="1.0", name="getXML")
    def get_xml(self, vm_id: UUID, *, running: bool = False) -> str:
        """Return the libvirt domain XML of a machine, without passwords.

        :param running: the document of the present run, in place of that of the next start
        :raises NoSuchVM: no machine of this id is on the host
        """
        return self._editor.xml(vm_id.lower(), running=running)

    @action(access="admin", since="1.0", name="setXML")
    def set_xml(self, vm_id: UUID, xml: DomainXML) -> DefinitionChanges:
        """Replace the definition of a machine. What runs is not changed.

        A display without a password keeps the one that it has. What the daemon keeps in the metadata cannot
        be changed, nor can the paths of images of storage domains.

        :param xml: the whole document, as `VM.getXML` returns it
        :raises NoSuchVM: no machine of this id is on the host
        :raises NotAdopted: another client of libvirt defined it
        :raises VMNotDown: it is being started or migrated
        :raises DefinitionRefused: libvirt does not accept the document
        :raises AutostartRefused: the machine is started with the host, which the new disks do not allow
        """
        return self._editor.change(vm_id.lower(), xml)

    @action(since="1.0", done="Machine renamed")
    def rename(self, vm_id: UUID, name: MachineName) -> VmDefinition:
        """Give a machine that is down another name. Its id stays.

        :param name: the new name
        :raises NoSuchVM: no machine of this id is on the host
        :raises NotAdopted: another client of libvirt defined it
        :raises VMNotDown: it is not down
        :raises VMExists: another machine has the name
        :raises DefinitionRefused: libvirt cannot rename it
        """
        return definition(self._editor.rename(vm_id.lower(), name))

    @action(access="admin", since="1.0", done="Machine adopted")
    def adopt(self, vm_id: UUID) -> VmDefinition:
        """Take over a machine that another client of libvirt defined, running or not; nothing of it changes.

        From then on it is edited, renamed, forgotten and destroyed like the machines of the daemon. No effect
        on one that is.

        :raises NoSuchVM: no machine of this id is on the host
        :raises CannotAdoptVM: libvirt does not keep its definition, or starts it with the host
        """
        return definition(self._editor.adopt(vm_id.lower()))

    @action(since="1.0", done="Machine forgotten")
    def forget(self, vm_id: UUID) -> None:
        """Remove the definition of a machine that is down. Its disks stay.

        Unlike `VM.destroy`, it never ends a machine that runs.

        :raises NoSuchVM: no machine of this id is on the host
        :raises VMNotDown: it is not down
        :raises ForeignDefinition: another client of libvirt defined it
        """
        self._control.forget(vm_id.lower())
