"""The door: the API of the host, declared, collected, checked and called; and what a plugin may import.

A name is loaded at its first use: a client that needs only `vdsm_bridge.transport` does not pay for a host.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from vdsm_bridge.api.declare import Namespace, action, query, task
    from vdsm_bridge.api.legacy import LegacyForm, LegacyMethod
    from vdsm_bridge.api.marks import Marks
    from vdsm_bridge.api.verb import Kind, Param, TaskRef, Verb
    from vdsm_bridge.call.access import Credentials
    from vdsm_bridge.call.addresses import is_loopback
    from vdsm_bridge.call.bridge import Bridge
    from vdsm_bridge.call.certificate import Certificate
    from vdsm_bridge.call.context import Context, Identity
    from vdsm_bridge.call.peer import owner_uid
    from vdsm_bridge.call.slots import Slots
    from vdsm_bridge.call.wait_slots import WaitSlots
    from vdsm_bridge.plugins.binding import Binding, Health
    from vdsm_bridge.plugins.feature import Feature, Runtime
    from vdsm_core.config import Options
    from vdsm_core.incident import report_incident
    from vdsm_core.work.steps import Progress

__all__ = [
    "Binding",
    "Bridge",
    "Certificate",
    "Context",
    "Credentials",
    "Feature",
    "Health",
    "Identity",
    "Kind",
    "LegacyForm",
    "LegacyMethod",
    "Marks",
    "Namespace",
    "Options",
    "Param",
    "Progress",
    "Runtime",
    "Slots",
    "TaskRef",
    "Verb",
    "WaitSlots",
    "action",
    "is_loopback",
    "owner_uid",
    "query",
    "report_incident",
    "task",
]

_HOMES: Final = {
    "Binding": "vdsm_bridge.plugins.binding",
    "Bridge": "vdsm_bridge.call.bridge",
    "Certificate": "vdsm_bridge.call.certificate",
    "Context": "vdsm_bridge.call.context",
    "Credentials": "vdsm_bridge.call.access",
    "Feature": "vdsm_bridge.plugins.feature",
    "Health": "vdsm_bridge.plugins.binding",
    "Identity": "vdsm_bridge.call.context",
    "Kind": "vdsm_bridge.api.verb",
    "LegacyForm": "vdsm_bridge.api.legacy",
    "LegacyMethod": "vdsm_bridge.api.legacy",
    "Marks": "vdsm_bridge.api.marks",
    "Namespace": "vdsm_bridge.api.declare",
    "Options": "vdsm_core.config",
    "Param": "vdsm_bridge.api.verb",
    "Progress": "vdsm_core.work.steps",
    "Runtime": "vdsm_bridge.plugins.feature",
    "Slots": "vdsm_bridge.call.slots",
    "TaskRef": "vdsm_bridge.api.verb",
    "Verb": "vdsm_bridge.api.verb",
    "WaitSlots": "vdsm_bridge.call.wait_slots",
    "action": "vdsm_bridge.api.declare",
    "is_loopback": "vdsm_bridge.call.addresses",
    "owner_uid": "vdsm_bridge.call.peer",
    "query": "vdsm_bridge.api.declare",
    "report_incident": "vdsm_core.incident",
    "task": "vdsm_bridge.api.declare",
}
#: Names of earlier releases, which `vdsm_core.deprecated` lists.
_RENAMED: Final = {"Places": "Slots", "Proof": "Credentials", "Waiting": "WaitSlots"}


def __getattr__(name: str) -> Any:
    new = _RENAMED.get(name, name)
    if new not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not at the top: a client imports this package, and no part of a host.
    importlib.import_module("vdsm_core.deprecated").warn_of_name(f"{__name__}.{name}")
    return getattr(importlib.import_module(_HOMES[new]), new)
