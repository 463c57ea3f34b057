"""The host on the message bus, and the console for engines (`vdsm_qmf.console`).

A name is loaded at its first use: a console does not load an agent.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vdsm_qmf.binding import QmfBinding

__all__ = ["QmfBinding"]


def __getattr__(name: str) -> Any:
    if name != "QmfBinding":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("vdsm_qmf.binding").QmfBinding
