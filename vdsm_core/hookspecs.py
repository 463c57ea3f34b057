"""Deprecated: the module of `hookimpl` in earlier releases. Import it from `vdsm_core.hooks`."""

from __future__ import annotations

from typing import Any, Final

from vdsm_core import hooks
from vdsm_core.deprecated import warn_of_name

_MOVED: Final = ("hookimpl",)


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warn_of_name(f"{__name__}.{name}")
    return getattr(hooks, name)
