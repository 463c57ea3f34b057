"""Privileged operations: what a plugin declares, and the client that calls them.

A feature of the daemon never runs with root's powers. What needs them is an operation: a typed function that
a separate process, `vdsm-helper`, runs for the daemon. A plugin names a module with operations in the
entry-point group `vdsm.privileged`::

    IMAGES = Root("/var/lib/vdsm/images")

    @operation(deadline=10.0, capabilities=("CAP_CHOWN",), idempotent=True)
    def image_set_owner(image: Annotated[Entry, Within(IMAGES)], uid: Uid) -> None:
        ...

and calls it with `runtime.privileged.run(image_set_owner, Entry("disk"), 107)`. Both processes import this
package: it imports nothing of the daemon.
"""

from __future__ import annotations

from vdsm_core.privileged.arguments import Entry, Name, Opened, Root, Within
from vdsm_core.privileged.commands import CommandFailed, Executable, run_command
from vdsm_core.privileged.errors import HelperUnavailable, OperationDeadline, OperationOutcomeUnknown
from vdsm_core.privileged.operation import Operation, operation, operations_of, own_table

__all__ = [
    "CommandFailed",
    "Entry",
    "Executable",
    "HelperUnavailable",
    "Name",
    "Opened",
    "Operation",
    "OperationDeadline",
    "OperationOutcomeUnknown",
    "Root",
    "Within",
    "operation",
    "operations_of",
    "own_table",
    "run_command",
]
