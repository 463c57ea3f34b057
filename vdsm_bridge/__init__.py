"""The door: the API of the host, declared, collected, checked and called; and what a plugin may import."""

from vdsm_bridge.access import Proof
from vdsm_bridge.binding import Binding, Health
from vdsm_bridge.bridge import Bridge
from vdsm_bridge.context import Context, Identity
from vdsm_bridge.feature import Feature, Runtime
from vdsm_bridge.verb import Kind, Namespace, Param, TaskRef, Verb, action, query, task
from vdsm_core.config import Options
from vdsm_core.tasks import Progress

__all__ = [
    "Binding",
    "Bridge",
    "Context",
    "Feature",
    "Health",
    "Identity",
    "Kind",
    "Namespace",
    "Options",
    "Param",
    "Progress",
    "Proof",
    "Runtime",
    "TaskRef",
    "Verb",
    "action",
    "query",
    "task",
]
