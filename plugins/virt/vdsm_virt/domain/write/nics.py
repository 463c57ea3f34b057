"""NICs."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element

from msgspec import UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_virt.api.devices import Bandwidth, Interface
from vdsm_virt.api.scalars import given, truth, whole
from vdsm_virt.domain.elements import add

_MOST: Final = 1024
#: What the kernel's tc and libvirt take, in KiB/s.
_MOST_RATE: Final = 2**32 - 1


def nic(parent: Element, spec: Interface, argument: str) -> None:
    """One `<interface>`.

    :raises InvalidArgument: the network is not named, or a number is out of range
    """
    element = add(parent, "interface", type=spec.device)
    network = given(spec.network, "")
    if spec.device != "user":
        if not network:
            raise InvalidArgument(argument=f"{argument}.network", reason="a NIC needs a bridge or a network")
        add(element, "source", **{spec.device: network})
    if not isinstance(spec.mac_addr, UnsetType):
        add(element, "mac", address=spec.mac_addr.lower())
    # "pv" is what engines of 2012 call it
    add(element, "model", type="virtio" if spec.nic_model == "pv" else spec.nic_model)
    if not truth(spec.link_active, True):
        add(element, "link", state="down")
    name = given(spec.filter, "")
    if name:
        reference = add(element, "filterref", filter=name)
        for parameter in spec.filter_parameters:
            add(reference, "parameter", name=parameter.name, value=parameter.value)
    _limits(element, spec, argument)
    order = whole(spec.boot_order, f"{argument}.bootOrder", 0, most=_MOST)
    if order:
        add(element, "boot", order=order)


def _limits(element: Element, spec: Interface, argument: str) -> None:
    limits = {"inbound": spec.spec_params.inbound, "outbound": spec.spec_params.outbound}
    wanted = {name: limit for name, limit in limits.items() if not isinstance(limit, UnsetType)}
    if not wanted:
        return
    bandwidth = add(element, "bandwidth")
    for name, limit in wanted.items():
        add(bandwidth, name, **_rates(limit, f"{argument}.specParams.{name}"))


def _rates(limit: Bandwidth, argument: str) -> dict[str, int]:
    rates = {"average": limit.average, "peak": limit.peak, "burst": limit.burst}
    return {
        name: whole(value, f"{argument}.{name}", 0, most=_MOST_RATE)
        for name, value in rates.items()
        if not isinstance(value, UnsetType)
    }
