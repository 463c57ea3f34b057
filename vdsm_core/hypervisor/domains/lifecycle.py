"""The domains of the host: list, start, stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import libvirt

from vdsm_core.deprecated import warn_of_attribute
from vdsm_core.hypervisor import enum_names
from vdsm_core.hypervisor.connection.caller import Caller
from vdsm_core.hypervisor.error_mapping import flags_unsupported
from vdsm_core.hypervisor.models import DomainState

ShutdownMode = Literal["default", "agent", "acpi"]

_SHUTDOWN_FLAGS: Final[dict[str, int]] = {
    "default": libvirt.VIR_DOMAIN_SHUTDOWN_DEFAULT,
    "agent": libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT,
    "acpi": libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN,
}
# The flags of virDomainReboot have the same values, by names of their own.
_REBOOT_FLAGS: Final[dict[str, int]] = {
    "default": libvirt.VIR_DOMAIN_REBOOT_DEFAULT,
    "agent": libvirt.VIR_DOMAIN_REBOOT_GUEST_AGENT,
    "acpi": libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN,
}


class Domains:
    """Lists domains and changes their state.

    `timeout` and the errors that every method raises are those of `Caller.call_domain`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list_all(self, *, timeout: float | None = None) -> list[DomainState]:
        """Return every domain of the host, active or not, with two requests to libvirt in all."""

        def listed(connection: Any) -> list[DomainState]:
            rows = connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0)
            kept = {
                domain.UUIDString()
                for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)
            }
            return [_state_of_row(domain, stats, kept) for domain, stats in rows]

        return self._caller.call(listed, "domains", timeout=timeout)

    def get(self, uuid: str, *, timeout: float | None = None) -> DomainState:
        """Return one domain."""

        def looked_up(domain: Any) -> DomainState:
            state, reason = domain.state()
            return _domain_state(domain, state, reason, bool(domain.isPersistent()))

        return self._caller.call_domain(uuid, looked_up, "domain", timeout=timeout)

    def start(self, uuid: str, *, paused: bool = False, timeout: float | None = None) -> None:
        """Start a defined domain.

        :param paused: its virtual CPUs do not run until `resume`
        :raises OperationInvalid: it is active already
        """

        def started(domain: Any) -> None:
            if not paused:
                domain.create()
                return
            try:
                domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
            except libvirt.libvirtError as error:
                if not flags_unsupported(error):
                    raise
                # The test driver has no guest that could run in between.
                domain.create()
                domain.suspend()

        self._caller.call_domain(uuid, started, "start", timeout=timeout)

    def destroy(self, uuid: str, *, graceful: bool = False, timeout: float | None = None) -> None:
        """End a domain at once. Preempts overdue calls on the domain.

        :param graceful: give QEMU time to write its caches, and fail rather than kill it
        :raises OperationInvalid: it is not active
        """
        flags = libvirt.VIR_DOMAIN_DESTROY_GRACEFUL if graceful else libvirt.VIR_DOMAIN_DESTROY_DEFAULT
        self._caller.call_domain(
            uuid, lambda domain: domain.destroyFlags(flags), "destroy", timeout=timeout, urgent=True
        )

    def shutdown(self, uuid: str, *, mode: ShutdownMode = "default", timeout: float | None = None) -> None:
        """Request the guest to power off. Returns once the request is sent, not when the guest is off.

        :raises OperationInvalid: the domain is not running
        :raises AgentUnavailable: mode "agent", and none answers
        """
        self._caller.call_domain(
            uuid, lambda domain: domain.shutdownFlags(_SHUTDOWN_FLAGS[mode]), "shutdown", timeout=timeout
        )

    def reboot(self, uuid: str, *, mode: ShutdownMode = "default", timeout: float | None = None) -> None:
        """Request the guest to reboot.

        :raises OperationInvalid: the domain is not running
        :raises AgentUnavailable: mode "agent", and none answers
        """
        self._caller.call_domain(
            uuid, lambda domain: domain.reboot(_REBOOT_FLAGS[mode]), "reboot", timeout=timeout
        )

    def reset(self, uuid: str, *, timeout: float | None = None) -> None:
        """Reset the machine as its reset button does.

        :raises OperationInvalid: the domain is not active
        """
        self._caller.call_domain(uuid, lambda domain: domain.reset(), "reset", timeout=timeout)

    def suspend(self, uuid: str, *, timeout: float | None = None) -> None:
        """Stop the virtual CPUs.

        :raises OperationInvalid: the domain is not active
        """
        self._caller.call_domain(uuid, lambda domain: domain.suspend(), "suspend", timeout=timeout)

    def resume(self, uuid: str, *, timeout: float | None = None) -> None:
        """Let the virtual CPUs run.

        :raises OperationInvalid: the domain is not paused
        """
        self._caller.call_domain(uuid, lambda domain: domain.resume(), "resume", timeout=timeout)

    def wake_up(self, uuid: str, *, timeout: float | None = None) -> None:
        """Wake a guest that has suspended itself to memory.

        :raises OperationInvalid: the guest is not suspended so
        """
        self._caller.call_domain(uuid, lambda domain: domain.pMWakeup(0), "wake_up", timeout=timeout)

    if not TYPE_CHECKING:

        def __call__(self, *, timeout: float | None = None) -> list[DomainState]:
            """Return every domain, as the method `Hypervisor.domains` of earlier releases."""
            warn_of_attribute("Runtime.hypervisor.domains()")
            return self.list_all(timeout=timeout)


def _state_of_row(domain: Any, stats: dict[str, Any], kept: set[str]) -> DomainState:
    state, reason = stats["state.state"], stats["state.reason"]
    return _domain_state(domain, state, reason, domain.UUIDString() in kept)


def _domain_state(domain: Any, state: int, reason: int, persistent: bool) -> DomainState:
    number = domain.ID()
    return DomainState(
        uuid=domain.UUIDString(),
        name=domain.name(),
        state=enum_names.STATES.get(state, "nostate"),
        reason=enum_names.reason(state, reason),
        active=number != -1,
        persistent=persistent,
        id=number,
    )
