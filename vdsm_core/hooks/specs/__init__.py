"""Every hook of vdsm, its arguments and what may be done in it. These modules are the manual.

A `before` hook may refuse by raising a `VdsmError`. An `after` hook is only notified: what it raises is
logged. Implementations run in the order of their plugins' names, each with copies of the arguments. Where a
hook may edit a document, the edited copy is used and handed to the next plugin. A document is an XML element
or a JSON value (objects, arrays, text, numbers, true, false, null).

Each implementation has a deadline, `deadline` in `[hooks]`; `[hooks.deadlines]` has other ones by hook. A
`before` hook that does not return in time fails the operation, an `after` hook is logged. Either way its
changes are discarded, it is not called again until that call has returned, and `Host.getPlugins` names it.
"""

from __future__ import annotations

from typing import Any, Final

from vdsm_core.hooks.declare import Hook
from vdsm_core.hooks.specs import devices, host, storage, vm

_MODULES: Final = (vm, devices, host, storage)


def every() -> dict[str, Hook[..., Any]]:
    """Return every hook by its name, in the order of the manual."""
    return {
        name: hook for module in _MODULES for name, hook in vars(module).items() if isinstance(hook, Hook)
    }
