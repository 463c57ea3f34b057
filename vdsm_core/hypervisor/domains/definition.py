"""The definitions of domains: their XML, with its metadata."""

from __future__ import annotations

from typing import Any, Final, Literal

import libvirt

from vdsm_core.hypervisor import error_mapping
from vdsm_core.hypervisor.connection.caller import Caller
from vdsm_core.hypervisor.error_mapping import flags_unsupported

#: The document of a running domain, the persistent definition, or both as far as they exist.
Copies = Literal["both", "running", "stored"]

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


class Definitions:
    """Reads and writes definitions.

    `timeout` and the errors that every method raises are those of `Caller.call_domain`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def define(self, xml: str, *, timeout: float | None = None) -> str:
        """Define a domain; return its uuid.

        :raises XMLRefused: libvirt does not accept it
        :raises DomainExists: its name or uuid is another domain's
        """
        return self._caller.call(
            lambda connection: str(connection.defineXML(xml).UUIDString()),
            error_mapping.DEFINE,
            timeout=timeout,
        )

    def undefine(self, uuid: str, *, timeout: float | None = None) -> None:
        """Forget a definition, with its saved state, NVRAM, TPM and snapshot metadata.

        An active domain continues as a transient one.
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

        self._caller.call_domain(uuid, undefined, "undefine", timeout=timeout)

    def rename(self, uuid: str, name: str, *, timeout: float | None = None) -> None:
        """Give a domain that is not active another name.

        :raises DomainExists: the name is another domain's
        :raises OperationInvalid: the domain is active, or has a saved state
        """
        self._caller.call_domain(
            uuid, lambda domain: domain.rename(name, 0), error_mapping.DEFINE, timeout=timeout
        )

    def autostart(self, uuid: str, *, timeout: float | None = None) -> bool:
        """Return whether libvirt starts the domain when libvirt itself starts."""
        return self._caller.call_domain(
            uuid, lambda domain: bool(domain.autostart()), "autostart", timeout=timeout
        )

    def set_autostart(self, uuid: str, enabled: bool, *, timeout: float | None = None) -> None:
        """Let libvirt start the domain when libvirt itself starts, or not.

        :raises OperationInvalid: the domain is not persistent
        """
        self._caller.call_domain(
            uuid, lambda domain: domain.setAutostart(int(enabled)), "set_autostart", timeout=timeout
        )

    def xml(
        self,
        uuid: str,
        *,
        inactive: bool = False,
        secure: bool = False,
        migratable: bool = False,
        timeout: float | None = None,
    ) -> str:
        """Return the XML of the domain.

        :param inactive: as it will be at the next start
        :param secure: with passwords
        :param migratable: as another host, or a later restore, takes it: without what libvirt added here
        """
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE if inactive else 0
        flags |= libvirt.VIR_DOMAIN_XML_SECURE if secure else 0
        flags |= libvirt.VIR_DOMAIN_XML_MIGRATABLE if migratable else 0
        return self._caller.call_domain(
            uuid, lambda domain: str(domain.XMLDesc(flags)), "domain_xml", timeout=timeout
        )

    def metadata(self, uuid: str, uri: str, *, timeout: float | None = None) -> str | None:
        """Return the domain's own XML element of a namespace; None if it has none."""

        def found(domain: Any) -> str | None:
            try:
                return str(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, uri))
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                    return None
                raise

        return self._caller.call_domain(uuid, found, "metadata", timeout=timeout)

    def set_metadata(
        self,
        uuid: str,
        uri: str,
        prefix: str,
        xml: str | None,
        *,
        copies: Copies = "both",
        timeout: float | None = None,
    ) -> None:
        """Write the domain's own XML element of a namespace; None removes it.

        :param copies: the documents that are changed, as far as they exist. What is in that of the running
            domain alone ends with QEMU
        :raises XMLRefused: the element is not well-formed
        """

        def written(domain: Any) -> None:
            live = copies != "stored" and domain.isActive()
            kept = copies != "running" and domain.isPersistent()
            flags = libvirt.VIR_DOMAIN_AFFECT_LIVE if live else 0
            flags |= libvirt.VIR_DOMAIN_AFFECT_CONFIG if kept else 0
            if flags:
                domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml, prefix, uri, flags)

        self._caller.call_domain(uuid, written, error_mapping.SET_METADATA, timeout=timeout)
