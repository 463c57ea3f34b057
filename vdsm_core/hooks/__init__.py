"""Hooks: calls of the host that plugins implement.

A hook is declared once, as a function in `vdsm_core.hooks.specs`. Plugins implement it with a function of
the same name that is marked `hookimpl`; `vdsm_core.hooks.manager` calls the implementations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import pluggy

__all__ = ["hookimpl", "only_if"]

F = TypeVar("F", bound=Callable[..., Any])

PROJECT: Final = "vdsm"
hookimpl = pluggy.HookimplMarker(PROJECT)
_NEEDED: Final = "vdsm_needed"


def only_if(needed: Callable[[], bool]) -> Callable[[F], F]:
    """Mark an implementation that is called only while a condition holds; else it costs nothing.

    The document of a hook is not made for implementations that are not called.

    :param needed: the condition, asked on the caller's thread at every call: it must not wait. If it raises,
        the implementation is called
    """

    def mark(function: F) -> F:
        setattr(function, _NEEDED, needed)
        return function

    return mark


def is_needed(function: Callable[..., Any]) -> bool:
    """Return whether an implementation is to be called now."""
    needed = getattr(function, _NEEDED, None)
    if needed is None:
        return True
    try:
        return bool(needed())
    except Exception:  # noqa: BLE001 - the call itself reports what is wrong
        return True
