"""Virtual machines on libvirt: the verbs of `VM`, and those of `Host` about hardware and machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vdsm_virt.feature import Virt

__all__ = ["Virt"]


def __getattr__(name: str) -> Any:
    # The privileged helper imports `vdsm_virt.privileged`, and shall load nothing of the daemon.
    if name == "Virt":
        from vdsm_virt.feature import Virt  # noqa: PLC0415

        return Virt
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
