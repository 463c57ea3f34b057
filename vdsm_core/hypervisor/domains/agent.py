"""The guest agent of a domain (qemu-guest-agent), through libvirt."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Literal

import libvirt
import msgspec

from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor.connection.caller import Caller, lookup
from vdsm_core.hypervisor.connection.workers import Pending
from vdsm_core.hypervisor.domains.qemu import agent_command
from vdsm_core.hypervisor.error_mapping import translate
from vdsm_core.hypervisor.errors import OperationUnsupported
from vdsm_core.hypervisor.models import AgentAnswer

#: What libvirt asks a guest agent for, and its names of it.
AgentSubject = Literal["users", "os", "timezone", "hostname", "filesystem", "disks", "interfaces"]
_SUBJECTS: Final[dict[AgentSubject, int]] = {
    "users": libvirt.VIR_DOMAIN_GUEST_INFO_USERS,
    "os": libvirt.VIR_DOMAIN_GUEST_INFO_OS,
    "timezone": libvirt.VIR_DOMAIN_GUEST_INFO_TIMEZONE,
    "hostname": libvirt.VIR_DOMAIN_GUEST_INFO_HOSTNAME,
    "filesystem": libvirt.VIR_DOMAIN_GUEST_INFO_FILESYSTEM,
    "disks": libvirt.VIR_DOMAIN_GUEST_INFO_DISKS,
    "interfaces": libvirt.VIR_DOMAIN_GUEST_INFO_INTERFACES,
}
#: Seconds for one command that is passed through; before it, libvirt gives a silent agent 5 s to synchronise.
_COMMAND: Final = 1
_LOST: Final = (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED)


class GuestAgents:
    """Asks the guest agents of domains.

    A call to an agent counts as a call of its own, not as one on the domain: an agent that hangs holds up
    nothing else of its machine.
    """

    def __init__(self, caller: Caller, uri: str) -> None:
        self._caller = caller
        self._uri = uri

    def ask_soon(
        self,
        uuid: str,
        subjects: frozenset[AgentSubject],
        commands: tuple[str, ...],
        report: Callable[[AgentAnswer], None],
    ) -> Pending:
        """Ask an agent in the background.

        :param subjects: what libvirt has a call for
        :param commands: names of agent commands without arguments, for what it has none for
        :param report: is called, on another thread, unless the connection to libvirt fails
        :raises HypervisorUnavailable: libvirt is not reached
        :raises ResourceExhausted: too many calls are under way
        """

        def work(connection: Any) -> None:
            report(_ask(lookup(connection, uuid), subjects, commands, self._failure(uuid)))

        return self._caller.begin(work, "guest_agent", agent_target(uuid))

    def command(self, uuid: str, command: str, seconds: int = 5) -> dict[str, Any]:
        """Return an agent's answer to one command.

        :param command: JSON
        :param seconds: for the answer
        :raises AgentUnavailable: no agent answers
        :raises HypervisorError: the agent refuses
        """

        def work(connection: Any) -> str:
            return agent_command(lookup(connection, uuid), command, seconds)

        answer = self._caller.call(work, "guest_agent", target=agent_target(uuid), timeout=seconds + 10.0)
        decoded: dict[str, Any] = msgspec.json.decode(answer)
        return decoded

    def _failure(self, uuid: str) -> Callable[[Any], VdsmError]:
        started = time.monotonic()

        def failure(error: Any) -> VdsmError:
            seconds = time.monotonic() - started
            return translate(error, uri=self._uri, operation="guest_agent", target=uuid, seconds=seconds)

        return failure


def agent_target(uuid: str) -> str:
    """Return the name under which calls to a domain's agent are counted."""
    return f"{uuid.lower()} (guest agent)"


def _ask(
    domain: Any,
    subjects: frozenset[AgentSubject],
    commands: tuple[str, ...],
    failure: Callable[[Any], VdsmError],
) -> AgentAnswer:
    facts: dict[str, Any] = {}
    answers: dict[str, Any] = {}
    refused: dict[str, VdsmError] = {}
    try:
        if subjects:
            facts = domain.guestInfo(sum(_SUBJECTS[subject] for subject in subjects), 0)
        for command in commands:
            try:
                text = agent_command(domain, f'{{"execute": "{command}"}}', _COMMAND)
            except libvirt.libvirtError as error:
                if error.get_error_code() in _LOST:
                    raise
                refused[command] = failure(error)
            else:
                answers[command] = msgspec.json.decode(text).get("return")
    except OperationUnsupported as error:
        return AgentAnswer(failure=error)
    except libvirt.libvirtError as error:
        return AgentAnswer(facts=facts, answers=answers, refused=refused, failure=failure(error))
    return AgentAnswer(facts=facts, answers=answers, refused=refused)
