"""What can be done with one domain, and with the list of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

import libvirt

from vdsm_core.hypervisor import enum_names, error_mapping
from vdsm_core.hypervisor.connection.caller import Caller
from vdsm_core.hypervisor.error_mapping import flags_unsupported
from vdsm_core.hypervisor.errors import NoSuchDomain
from vdsm_core.hypervisor.models import DomainState

T = TypeVar("T")
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
# From all that may hang on a definition down to what every driver can do.
_UNDEFINE_FLAGS: Final = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_TPM,
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA,
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE,
)


class DomainCalls(Caller):
    """Calls on domains.

    `timeout` is in seconds everywhere; without it, the configured `call_deadline` holds. Every method raises
    `HypervisorDeadline` when libvirt does not answer in time, `NotResponding` when an earlier call on the
    same domain is stuck, `HypervisorUnavailable` when libvirt is not reached, and `NoSuchDomain`.
    """

    def domains(self, *, timeout: float | None = None) -> list[DomainState]:
        """Every domain of the host, active or not, with two requests to libvirt in all."""

        def listed(connection: Any) -> list[DomainState]:
            rows = connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0)
            kept = {
                domain.UUIDString()
                for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)
            }
            return [_state_of_row(domain, stats, kept) for domain, stats in rows]

        return self._call(listed, "domains", timeout=timeout)

    def domain(self, uuid: str, *, timeout: float | None = None) -> DomainState:
        """One domain."""

        def looked_up(domain: Any) -> DomainState:
            state, reason = domain.state()
            return _domain_state(domain, state, reason, bool(domain.isPersistent()))

        return self._on(uuid, looked_up, "domain", timeout)

    def define(self, xml: str, *, timeout: float | None = None) -> str:
        """Keep a domain's definition; return its uuid.

        :raises XMLRefused: libvirt does not accept it
        :raises DomainExists: its name or uuid is another domain's
        """
        return self._call(
            lambda connection: str(connection.defineXML(xml).UUIDString()),
            error_mapping.DEFINE,
            timeout=timeout,
        )

    def undefine(self, uuid: str, *, timeout: float | None = None) -> None:
        """Forget a definition, with its saved state, NVRAM, TPM and snapshot metadata.

        An active domain goes on as a transient one.
        """

        def undefined(domain: Any) -> None:
            for flags in _UNDEFINE_FLAGS:
                try:
                    domain.undefineFlags(flags)
                except libvirt.libvirtError as error:
                    if not flags_unsupported(error) and error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
                        raise
                else:
                    return
            domain.undefine()

        self._on(uuid, undefined, "undefine", timeout)

    def start_domain(self, uuid: str, *, paused: bool = False, timeout: float | None = None) -> None:
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

        self._on(uuid, started, "start", timeout)

    def destroy(self, uuid: str, *, graceful: bool = False, timeout: float | None = None) -> None:
        """End a domain at once. Overtakes calls on the domain that are stuck.

        :param graceful: give QEMU time to write its caches, and fail rather than kill it
        :raises OperationInvalid: it is not active
        """
        flags = libvirt.VIR_DOMAIN_DESTROY_GRACEFUL if graceful else libvirt.VIR_DOMAIN_DESTROY_DEFAULT
        self._on(uuid, lambda domain: domain.destroyFlags(flags), "destroy", timeout, urgent=True)

    def shutdown(self, uuid: str, *, mode: ShutdownMode = "default", timeout: float | None = None) -> None:
        """Ask the guest to power off. Returns when it has been asked, not when it has done so.

        :raises OperationInvalid: the domain is not running
        :raises AgentUnavailable: mode "agent", and none answers
        """
        self._on(uuid, lambda domain: domain.shutdownFlags(_SHUTDOWN_FLAGS[mode]), "shutdown", timeout)

    def reboot(self, uuid: str, *, mode: ShutdownMode = "default", timeout: float | None = None) -> None:
        """Ask the guest to reboot.

        :raises OperationInvalid: the domain is not running
        :raises AgentUnavailable: mode "agent", and none answers
        """
        self._on(uuid, lambda domain: domain.reboot(_REBOOT_FLAGS[mode]), "reboot", timeout)

    def reset(self, uuid: str, *, timeout: float | None = None) -> None:
        """Reset the machine as its reset button does.

        :raises OperationInvalid: the domain is not active
        """
        self._on(uuid, lambda domain: domain.reset(), "reset", timeout)

    def suspend(self, uuid: str, *, timeout: float | None = None) -> None:
        """Stop the virtual CPUs.

        :raises OperationInvalid: the domain is not active
        """
        self._on(uuid, lambda domain: domain.suspend(), "suspend", timeout)

    def resume(self, uuid: str, *, timeout: float | None = None) -> None:
        """Let the virtual CPUs run.

        :raises OperationInvalid: the domain is not paused
        """
        self._on(uuid, lambda domain: domain.resume(), "resume", timeout)

    def set_vcpus(self, uuid: str, count: int, *, timeout: float | None = None) -> None:
        """Switch virtual CPUs on or off, in the running machine and in the kept definition.

        :raises OperationInvalid: the domain is not active
        """
        self._on(uuid, lambda domain: domain.setVcpusFlags(count, _affected(domain)), "set_vcpus", timeout)

    def set_memory(self, uuid: str, kib: int, *, timeout: float | None = None) -> None:
        """Ask the balloon to leave the guest `kib` KiB. The kept definition stays.

        :raises OperationInvalid: the domain is not active
        """
        flags = libvirt.VIR_DOMAIN_AFFECT_LIVE
        self._on(uuid, lambda domain: domain.setMemoryFlags(kib, flags), "set_memory", timeout)

    def domain_xml(
        self, uuid: str, *, inactive: bool = False, secure: bool = False, timeout: float | None = None
    ) -> str:
        """The domain's XML.

        :param inactive: as it will be at the next start
        :param secure: with passwords
        """
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE if inactive else 0
        flags |= libvirt.VIR_DOMAIN_XML_SECURE if secure else 0
        return self._on(uuid, lambda domain: str(domain.XMLDesc(flags)), "domain_xml", timeout)

    def metadata(self, uuid: str, uri: str, *, timeout: float | None = None) -> str | None:
        """The domain's own XML element of a namespace; None where there is none."""

        def found(domain: Any) -> str | None:
            try:
                return str(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, uri))
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                    return None
                raise

        return self._on(uuid, found, "metadata", timeout)

    def set_metadata(
        self, uuid: str, uri: str, prefix: str, xml: str | None, *, timeout: float | None = None
    ) -> None:
        """Write the domain's own XML element of a namespace; None removes it.

        Both the running machine and the kept definition get it, as far as each exists.

        :raises XMLRefused: the element is not well-formed
        """

        def written(domain: Any) -> None:
            flags = libvirt.VIR_DOMAIN_AFFECT_LIVE if domain.isActive() else 0
            flags |= libvirt.VIR_DOMAIN_AFFECT_CONFIG if domain.isPersistent() else 0
            domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml, prefix, uri, flags)

        self._on(uuid, written, error_mapping.SET_METADATA, timeout)

    def _on(
        self,
        uuid: str,
        work: Callable[[Any], T],
        operation: str,
        timeout: float | None,
        *,
        urgent: bool = False,
    ) -> T:
        def looked_up(connection: Any) -> T:
            return work(_lookup(connection, uuid))

        return self._call(looked_up, operation, target=uuid.lower(), timeout=timeout, urgent=urgent)


def _affected(domain: Any) -> int:
    """Flags for a change of the running machine and, where there is one, of the kept definition."""
    flags: int = libvirt.VIR_DOMAIN_AFFECT_LIVE
    return flags | libvirt.VIR_DOMAIN_AFFECT_CONFIG if domain.isPersistent() else flags


def _lookup(connection: Any, uuid: str) -> Any:
    try:
        return connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        # "Invalid UUID"
        if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
            raise
    raise NoSuchDomain(uuid=uuid)


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
