"""Verbs of `VM` on the desktop of a guest, through oVirt's guest agent."""

from __future__ import annotations

from typing import Annotated, Any

from vdsm_bridge.api.declare import Namespace, action
from vdsm_bridge.api.legacy import LegacyMethod
from vdsm_core.secret import Secret
from vdsm_core.types import UUID
from vdsm_virt.api.scalars import Filled, Word, patterned
from vdsm_virt.guest.ovirt_agents import OvirtAgents
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.refusals import running
from vdsm_virt.verbs.vm import VM

#: A name of a message of the agent's protocol.
MessageName = Annotated[str, patterned(r"^[A-Za-z0-9_.-]+$", "the name of a message", maximum=128)]


class LoginPassword(Secret, max_length=1024):
    """The password of a user of a guest."""


class Desktops(Namespace, group_of=VM):
    """Log users of a guest in and off, and lock its screen."""

    def __init__(self, inventory: Inventory, agents: OvirtAgents) -> None:
        self._inventory = inventory
        self._agents = agents

    @action(since="1.0", legacy=LegacyMethod("desktopLogin", args=("vmID", "domain", "username", "password")))
    def desktop_login(
        self,
        vm_id: UUID,
        domain: Word,
        username: Filled,
        password: LoginPassword,
    ) -> None:
        """Ask oVirt's guest agent to log a user in. Success means that it was asked, not that the user is in.

        :param domain: of the user; empty: none
        :param username: of the guest
        :param password: of the user
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises DesktopAgentSilent: it has no such agent, or it has said nothing for two minutes
        """
        user = f"{username}@{domain}" if domain else username
        self._send(vm_id, "log a user in to", "login", username=user, password=password.reveal())

    @action(since="1.0", legacy=LegacyMethod("desktopLogoff", args=("vmID", "force")))
    def desktop_logoff(self, vm_id: UUID, force: bool = False) -> None:  # noqa: ARG002 - as in VDSM
        """Ask oVirt's guest agent to log the user of the desktop off.

        :param force: has no effect, as in VDSM: the agent always ends the session
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises DesktopAgentSilent: it has no such agent, or it has said nothing for two minutes
        """
        self._send(vm_id, "log a user off", "log-off")

    @action(since="1.0", legacy=LegacyMethod("desktopLock", args=("vmID",)))
    def desktop_lock(self, vm_id: UUID) -> None:
        """Ask oVirt's guest agent to lock the screen of the desktop.

        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises DesktopAgentSilent: it has no such agent, or it has said nothing for two minutes
        """
        self._send(vm_id, "lock the screen of", "lock-screen")

    @action(since="1.0", legacy=LegacyMethod("sendHcCmdToDesktop", args=("vmID", "message")))
    def desktop_send_hc_command(self, vm_id: UUID, message: MessageName) -> None:
        """Send oVirt's guest agent a message without members, such as `echo` or `refresh`.

        :param message: its name; an agent that does not know it ignores it
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises DesktopAgentSilent: it has no such agent, or it has said nothing for two minutes
        """
        self._send(vm_id, "command", message)

    def _send(self, vm_id: str, action: str, message: str, **members: Any) -> None:
        machine = running(self._inventory, vm_id.lower(), action)
        self._agents.send(machine.id, message, **members)
