"""Plugins: their discovery, and their import and start within a time limit."""

from vdsm_core.plugins.discovery import (
    BINDINGS,
    GROUPS,
    HOOKS,
    PLUGIN_API,
    PRIVILEGED,
    VERBS,
    Discovery,
    Found,
    discover,
    refuse_shared_tables,
)

__all__ = [
    "BINDINGS",
    "GROUPS",
    "HOOKS",
    "PLUGIN_API",
    "PRIVILEGED",
    "VERBS",
    "Discovery",
    "Found",
    "discover",
    "refuse_shared_tables",
]
