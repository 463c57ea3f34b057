"""Hooks: calls of the host that plugins implement.

A hook is declared once, as a function in `vdsm_core.hooks.specs`. Plugins implement it with a function of
the same name that is marked `hookimpl`; `vdsm_core.hooks.manager` calls the implementations.
"""

from __future__ import annotations

from typing import Final

import pluggy

__all__ = ["hookimpl"]

PROJECT: Final = "vdsm"
hookimpl = pluggy.HookimplMarker(PROJECT)
