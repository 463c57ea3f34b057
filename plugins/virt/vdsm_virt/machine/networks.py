"""What the NICs of a machine need of libvirt before it can start, or before they are plugged in."""

from __future__ import annotations

import logging
from typing import Final
from xml.etree.ElementTree import Element

from vdsm_core.errors import HypervisorError, OperationFailed
from vdsm_core.hypervisor import DomainExists, Hypervisor, OperationUnsupported
from vdsm_virt.domain.bridges import UNPLUGGED
from vdsm_virt.errors import reason_of

log = logging.getLogger(__name__)

#: VDSM's network filter, which engines name: both of libvirt's own filters against false addresses.
NO_SPOOFING: Final = "vdsm-no-mac-spoofing"
_PARTS: Final = ("no-mac-spoofing", "no-arp-mac-spoofing")
_FILTER: Final = f"""
<filter name='{NO_SPOOFING}' chain='root'>
  <filterref filter='no-mac-spoofing'/>
  <filterref filter='no-arp-mac-spoofing'/>
</filter>"""
#: The same where libvirt's own filters are not installed: nothing leaves the NIC with another source address.
_ALONE: Final = f"""
<filter name='{NO_SPOOFING}' chain='root'>
  <rule action='drop' direction='out' priority='-900'><mac match='no' srcmacaddr='$MAC'/></rule>
  <rule action='drop' direction='out' priority='-890'><arp match='no' arpsrcmacaddr='$MAC'/></rule>
</filter>"""
#: A bridge without a port and without an address, on which unplugged NICs are.
_NETWORK: Final = f"""
<network>
  <name>{UNPLUGGED}</name>
  <bridge name='{UNPLUGGED}' stp='off'/>
</network>"""


class NicNetworks:
    """Has VDSM's network filter and the bridge of unplugged NICs defined, where NICs name them."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor

    def prepare(self, document: Element) -> None:
        """Make sure that what the NICs in a document name is there, as far as it is VDSM's own.

        Drivers without filters and networks are left to refuse the NIC themselves.

        :param document: a domain, or one NIC
        :raises OperationFailed: libvirt refuses the filter or the bridge
        """
        for nic in document.iter("interface"):
            if nic.find(f"filterref[@filter='{NO_SPOOFING}']") is not None:
                self._ensure_filter()
            if nic.find(f"source[@bridge='{UNPLUGGED}']") is not None:
                self._ensure_bridge()

    def _ensure_filter(self) -> None:
        networks = self._hypervisor.networks
        try:
            if not networks.has_filter(NO_SPOOFING):
                whole = all(networks.has_filter(part) for part in _PARTS)
                networks.define_filter(_FILTER if whole else _ALONE)
        except OperationUnsupported as error:
            log.debug("No network filters: %s", error)
        except DomainExists:
            log.debug("Network filter %s was defined meanwhile", NO_SPOOFING)
        except HypervisorError as error:
            raise OperationFailed(
                reason=f"cannot define network filter '{NO_SPOOFING}': {reason_of(error)}"
            ) from error

    def _ensure_bridge(self) -> None:
        try:
            self._hypervisor.networks.ensure_active(UNPLUGGED, _NETWORK)
        except OperationUnsupported as error:
            log.debug("No networks: %s", error)
        except HypervisorError as error:
            raise OperationFailed(
                reason=f"cannot start network '{UNPLUGGED}', on which unplugged NICs are: {reason_of(error)}"
            ) from error
