"""The networks of libvirt, and the network filters that NICs of machines name."""

from __future__ import annotations

from typing import Any

import libvirt

from vdsm_core.hypervisor import error_mapping
from vdsm_core.hypervisor.connection.caller import Caller


class Networks:
    """Finds, defines and starts networks and network filters.

    `timeout` and the errors that every method raises are those of `Caller.call`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def has_filter(self, name: str, *, timeout: float | None = None) -> bool:
        """Return whether libvirt has a network filter of this name.

        :raises OperationUnsupported: the driver has no network filters
        """

        def found(connection: Any) -> bool:
            try:
                connection.nwfilterLookupByName(name)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_NWFILTER:
                    return False
                raise
            return True

        return self._caller.call(found, "network_filter", target=name, timeout=timeout)

    def define_filter(self, xml: str, *, timeout: float | None = None) -> None:
        """Define a network filter, which must not exist yet.

        :raises XMLRefused: libvirt does not accept the document
        """
        self._caller.call(
            lambda connection: connection.nwfilterDefineXML(xml), error_mapping.DEFINE, timeout=timeout
        )

    def ensure_active(self, name: str, xml: str, *, timeout: float | None = None) -> None:
        """Start a network, which is defined first if libvirt does not have it; libvirt starts it from now on.

        :param xml: its `<network>` document
        :raises OperationUnsupported: the driver has no networks
        :raises XMLRefused: libvirt does not accept the document
        """

        def ensured(connection: Any) -> None:
            try:
                network = connection.networkLookupByName(name)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
                    raise
                network = connection.networkDefineXML(xml)
            if not network.isActive():
                network.setAutostart(1)
                network.create()

        self._caller.call(ensured, error_mapping.DEFINE, target=name, timeout=timeout)
