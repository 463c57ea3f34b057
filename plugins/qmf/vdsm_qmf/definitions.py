"""Deprecated name of `vdsm_qmf.topology`."""

from __future__ import annotations

import sys
import warnings
from typing import Any, Final

from vdsm_qmf import topology

_NOTICE: Final = "vdsm_qmf.definitions: Deprecated since 0.1, gone with 0.3: it is called vdsm_qmf.topology."


def __getattr__(name: str) -> Any:
    if name != "definitions":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(_NOTICE, DeprecationWarning, stacklevel=2)
    return topology.definitions


if __name__ == "__main__":
    print(_NOTICE, file=sys.stderr)  # noqa: T201 - for the user of the command
    topology.main()
