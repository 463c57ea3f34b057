"""What a change of a machine's definition comes to."""

from __future__ import annotations

from vdsm_core.types import Record


class DefinitionChanges(Record, frozen=True):
    """What a new definition changes of a machine.

    :ivar changed: names of the elements that are different, such as `memory` or `disk vda`
    :ivar needs_restart: those of a machine that runs, which have an effect once it was stopped and started
    """

    changed: list[str]
    needs_restart: list[str]
