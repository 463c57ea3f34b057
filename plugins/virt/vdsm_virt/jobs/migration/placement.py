"""The processors and NUMA nodes of the destination, which a caller may choose for a migration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_core.errors import InvalidArgument
from vdsm_virt.domain.elements import add, parse, to_text, under

_MODE: Final = "strict"


class Placement(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the parts of a machine run on the destination; empty members leave the present placement.

    :ivar cpusets: processors of the destination, for each processor of the machine
    :ivar nodesets: NUMA nodes of the destination, for each NUMA cell of the machine
    """

    cpusets: Sequence[str] = ()
    nodesets: Sequence[str] = ()

    def __bool__(self) -> bool:
        """Whether it changes anything."""
        return bool(self.cpusets or self.nodesets)

    def check(self, domain: Element) -> None:
        """Check that it has an item for each processor and cell of a machine.

        :raises InvalidArgument: it has not
        """
        cells = len(domain.findall("cpu/numa/cell"))
        for given, argument, expected, what in (
            (self.cpusets, "params.cpusets", _processors(domain), "processors"),
            (self.nodesets, "params.numaNodesets", cells, "NUMA cells"),
        ):
            if given and len(given) != expected:
                reason = f"it has {len(given)} items, and the machine has {expected} {what}"
                raise InvalidArgument(argument=argument, reason=reason)

    def applied(self, xml: str) -> str:
        """Return the document of a domain with this placement instead of its own.

        :raises ValueError: the document cannot be read
        """
        domain = parse(xml)
        if self.cpusets:
            tune = under(domain, "cputune")
            for pin in tune.findall("vcpupin"):
                tune.remove(pin)
            for number, cpuset in enumerate(self.cpusets):
                add(tune, "vcpupin", vcpu=number, cpuset=cpuset)
        if self.nodesets:
            tune = under(domain, "numatune")
            modes = {cell.get("cellid"): cell.get("mode") for cell in tune.findall("memnode")}
            for cell in tune.findall("memnode"):
                tune.remove(cell)
            for number, nodeset in enumerate(self.nodesets):
                mode = modes.get(str(number)) or _MODE
                add(tune, "memnode", cellid=number, mode=mode, nodeset=nodeset)
        return to_text(domain)


def _processors(domain: Element) -> int:
    text = (domain.findtext("vcpu") or "").strip()
    return int(text) if text.isdigit() else 1
