"""The environment of a script: nothing of the daemon's own is in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from vdsm_hooks.names import name_fault, value_fault

#: The folder of the module `hooking`.
LIBRARY: Final = Path(__file__).parent / "library"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Variables of the call, beside custom properties.
_OF_CALL: Final = frozenset({"vmId", "FROM_SNAPSHOT"})


def base() -> dict[str, str]:
    """Return the variables that every script has."""
    # As in VDSM, where the value began with a colon if there was none before.
    return {"PATH": _PATH, "LC_ALL": "C.UTF-8", "PYTHONPATH": f":{LIBRARY}", "PYTHONDONTWRITEBYTECODE": "1"}


def fault_of(name: str) -> str:
    """Return why a script does not get a variable of this name; empty if it may."""
    return "" if name in _OF_CALL else name_fault(name)


def of_call(
    *,
    params: Mapping[str, str],
    device_custom: Mapping[str, str],
    custom: Mapping[str, str],
    vm_id: str,
) -> dict[str, str]:
    """Return the variables of one call.

    The weakest first: parameters, properties of the device, properties of the machine.

    :raises ValueError: a name or a value cannot be that of a variable; the message is one clause
    """
    found = {**params, **device_custom, **custom}
    for name, value in found.items():
        if fault := fault_of(name) or value_fault(value):
            raise ValueError(f"the variable {name}: {fault}")
    return found | ({"vmId": vm_id} if vm_id else {})
