"""Host bus adapters: Fibre Channel ports and the iSCSI initiator."""

from __future__ import annotations

import msgspec

from vdsm_core.types import Record
from vdsm_virt.host.tree import Tree

_FC = "sys/class/fc_host"


class FcHba(Record, frozen=True, kw_only=True):
    """A Fibre Channel port: world wide port and node name, hexadecimal without prefix."""

    model: str
    wwpn: str
    wwnn: str


class IscsiHba(Record, frozen=True, kw_only=True):
    """The iSCSI initiator's qualified name."""

    initiator_name: str = msgspec.field(name="InitiatorName")


class HbaInventory(Record, frozen=True, kw_only=True):
    """Host bus adapters for shared storage."""

    fc: list[FcHba] = msgspec.field(name="FC")
    iscsi: list[IscsiHba] = msgspec.field(name="iSCSI")


def initiator_name(tree: Tree) -> str:
    """Return the iSCSI initiator name; empty when the host has no initiator."""
    for line in tree.lines("etc/iscsi/initiatorname.iscsi"):
        key, _, value = line.partition("=")
        if key.strip() == "InitiatorName":
            return value.strip()
    return ""


def inventory(tree: Tree) -> HbaInventory:
    name = initiator_name(tree)
    return HbaInventory(
        fc=[
            FcHba(
                model=_model(tree, port),
                wwpn=(tree.text(f"{_FC}/{port}/port_name") or "").removeprefix("0x"),
                wwnn=(tree.text(f"{_FC}/{port}/node_name") or "").removeprefix("0x"),
            )
            for port in tree.names(_FC)
        ],
        iscsi=[IscsiHba(initiator_name=name)] if name else [],
    )


def _model(tree: Tree, port: str) -> str:
    """Return the model from the driver's symbolic name: model first, then firmware and driver versions."""
    return (tree.text(f"{_FC}/{port}/symbolic_name") or "").split(" ")[0]
