"""NICs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from msgspec import UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_virt.api.devices import Bandwidth, FilterParameter, Interface, InterfaceSpec
from vdsm_virt.api.scalars import LooseUint, given, truth, whole
from vdsm_virt.domain.bridges import UNPLUGGED
from vdsm_virt.domain.elements import add, under, yes_no
from vdsm_virt.domain.write import host_devices

_MAX: Final = 1024
#: What the kernel's tc and libvirt take, in KiB/s and KiB.
_MAX_RATE: Final = 2**32 - 1
#: The range of MTUs in bytes: IPv4's minimum, and the most that an interface of Linux has.
_MTU: Final = (68, 65_535)
#: VLAN tags that a frame can carry.
_VLAN: Final = (1, 4094)


def nic(parent: Element, spec: Interface, argument: str) -> None:
    """Add one `<interface>`.

    :raises InvalidArgument: the network is not named, a number is out of range, or members exclude each other
    """
    if spec.port_mirroring:
        raise InvalidArgument(argument=f"{argument}.portMirroring", reason="port mirroring is not supported")
    if spec.device == "hostdev":
        _function(parent, spec, argument)
        return
    element = add(parent, "interface", type=spec.device)
    if spec.device != "user":
        _plug(element, spec, argument)
    _identity(element, spec, argument)
    # "pv" is what engines of 2012 call it
    add(element, "model", type="virtio" if spec.nic_model == "pv" else spec.nic_model)
    _driver(element, spec, argument)
    if not truth(spec.link_active, True) or element.find(f"source[@bridge='{UNPLUGGED}']") is not None:
        set_link(element, up=False)
    set_filter(element, given(spec.filter, ""), spec.filter_parameters)
    set_mtu(element, spec.mtu, argument)
    if truth(spec.port_isolated, False):
        set_isolated(element, isolated=True)
    set_bandwidth(element, spec.spec_params, argument)


def plug(element: Element, network: str) -> None:
    """Connect an `<interface>` to a network; an empty one unplugs its cable.

    The bridge of a network has the network's name. An unplugged NIC is on a bridge without a port.
    """
    kind = element.get("type", "bridge")
    source = under(element, "source")
    if not network:
        element.set("type", "bridge")
        source.attrib.clear()
        source.set("bridge", UNPLUGGED)
        set_link(element, up=False)
        return
    if source.get("bridge") == UNPLUGGED or kind not in ("bridge", "network"):
        kind = "bridge"
    element.set("type", kind)
    source.attrib.clear()
    source.set(kind, network)


def set_mac(element: Element, address: str) -> None:
    """Set the MAC address, which libvirt has in lower case."""
    under(element, "mac").set("address", address.lower())


def set_link(element: Element, *, up: bool) -> None:
    """Set the state of the link that the guest sees."""
    under(element, "link").set("state", "up" if up else "down")


def set_filter(element: Element, name: str, parameters: Sequence[FilterParameter] = ()) -> None:
    """Set the network filter; an empty name removes it."""
    for old in element.findall("filterref"):
        element.remove(old)
    if name:
        reference = add(element, "filterref", filter=name)
        for parameter in parameters:
            add(reference, "parameter", name=parameter.name, value=parameter.value)


def set_mtu(element: Element, mtu: LooseUint | UnsetType, argument: str) -> None:
    """Set the MTU in bytes, unless it is absent.

    :raises InvalidArgument: it is out of range
    """
    if not isinstance(mtu, UnsetType):
        size = whole(mtu, f"{argument}.mtu", 0, minimum=_MTU[0], maximum=_MTU[1])
        under(element, "mtu").set("size", str(size))


def set_isolated(element: Element, *, isolated: bool) -> None:
    """Let the bridge forward frames to and from this port and others that are isolated, or not."""
    under(element, "port").set("isolated", yes_no(isolated))


def set_bandwidth(element: Element, spec: InterfaceSpec, argument: str) -> None:
    """Set the limits of each direction that is given; an empty one removes the limit.

    :raises InvalidArgument: a limit has no average, or a number is out of range
    """
    directions = {"inbound": spec.inbound, "outbound": spec.outbound}
    wanted = {name: limit for name, limit in directions.items() if not isinstance(limit, UnsetType)}
    if not wanted:
        return
    bandwidth = under(element, "bandwidth")
    for name, limit in wanted.items():
        for old in bandwidth.findall(name):
            bandwidth.remove(old)
        if rates := _rates(limit, f"{argument}.specParams.{name}"):
            add(bandwidth, name, **rates)
    if not len(bandwidth):
        element.remove(bandwidth)


def _rates(limit: Bandwidth, argument: str) -> dict[str, int]:
    rates = {
        name: whole(value, f"{argument}.{name}", 0, maximum=_MAX_RATE)
        for name, value in (("average", limit.average), ("peak", limit.peak), ("burst", limit.burst))
    }
    wanted = {name: rate for name, rate in rates.items() if rate}
    if wanted and "average" not in wanted:
        raise InvalidArgument(argument=f"{argument}.average", reason="a limit needs an average")
    return wanted


def _plug(element: Element, spec: Interface, argument: str) -> None:
    if isinstance(spec.network, UnsetType):
        raise InvalidArgument(
            argument=f"{argument}.network",
            reason="a NIC needs a bridge or a network; an empty one leaves it unplugged",
        )
    add(element, "source")
    plug(element, spec.network)


def _identity(element: Element, spec: Interface, argument: str) -> None:
    if not isinstance(spec.mac_addr, UnsetType):
        set_mac(element, spec.mac_addr)
    order = whole(spec.boot_order, f"{argument}.bootOrder", 0, maximum=_MAX)
    if order:
        add(element, "boot", order=order)


def _driver(element: Element, spec: Interface, argument: str) -> None:
    """Apply VDSM's custom properties `queues` (of a virtio NIC) and `sndbuf` (bytes)."""
    for name in ("queues", "sndbuf"):
        value = spec.custom.get(name)
        if value is None:
            continue
        if not value.isascii() or not value.isdecimal():
            raise InvalidArgument(argument=f"{argument}.custom.{name}", reason=f"'{value[:40]}' is no number")
        if name == "queues":
            add(element, "driver", name="vhost", queues=int(value))
        else:
            add(add(element, "tune"), "sndbuf", int(value))


def _function(parent: Element, spec: Interface, argument: str) -> None:
    """Add a NIC that is a virtual function of a device of the host."""
    if isinstance(spec.hostdev, UnsetType):
        raise InvalidArgument(
            argument=f"{argument}.hostdev", reason="a NIC of device 'hostdev' needs its name"
        )
    element = add(parent, "interface", type="hostdev", managed="yes")
    source = add(element, "source")
    add(source, "address", **host_devices.pci_address(spec.hostdev, f"{argument}.hostdev"))
    _identity(element, spec, argument)
    add(element, "driver", name="vfio")
    if not isinstance(spec.spec_params.vlan_id, UnsetType):
        tag = whole(
            spec.spec_params.vlan_id, f"{argument}.specParams.vlanid", 0, minimum=_VLAN[0], maximum=_VLAN[1]
        )
        add(add(element, "vlan"), "tag", id=tag)
