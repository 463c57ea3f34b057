"""The targets by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Final, cast

Target = Callable[[bytes], None]

#: Module and function of each; imported when it runs, so that a broken plugin breaks its own targets only.
TARGETS: Final[Mapping[str, tuple[str, str]]] = {
    "event-pattern": ("core", "event_pattern"),
    "typed-data": ("core", "typed_data"),
    "http": ("http", "requests"),
    "qmf-message": ("qmf", "message"),
    "qmf-predicate": ("qmf", "predicate"),
    "qmf-schema-request": ("qmf", "schema_request"),
    "rest-json": ("rest", "json_body"),
    "rest-query": ("rest", "query"),
    "vm-params": ("virt", "vm_params"),
    "desktop-agent": ("virt", "desktop_agent"),
    "domain-xml": ("virt", "domain_xml"),
    "saved-parameters": ("virt", "saved_parameters"),
    "xmlrpc": ("xmlrpc", "request"),
}


def target(name: str) -> Target:
    """Return one target.

    :raises KeyError: there is none of this name
    """
    module, function = TARGETS[name]
    return cast("Target", getattr(importlib.import_module(f"{__name__}.{module}"), function))
