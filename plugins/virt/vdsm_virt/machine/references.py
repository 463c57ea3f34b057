"""The objects of this plugin that work is done on."""

from __future__ import annotations

from typing import Final

from vdsm_core.work.references import Reference


class Machine(Reference):
    """A machine."""

    kind = "vm"


class _AllMachines(Reference):
    """All machines of the host together."""

    kind = "machines"


#: What comparisons with libvirt are about: they run one after the other.
ALL: Final = _AllMachines("all")
