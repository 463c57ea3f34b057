"""Errors of hooks that do not return."""

from __future__ import annotations

from vdsm_core.errors import DeadlineExceeded, Unavailable


class HookDeadline(DeadlineExceeded):
    """A plugin's hook did not return in time. Its changes are discarded.

    Facts: `hook`, `plugin`, `seconds`.
    """

    slug = "hook-deadline"
    template = "Hook {hook} of plugin '{plugin}' did not return within {seconds:g} s"


class HookUnavailable(Unavailable):
    """A plugin's hook cannot be called: earlier calls have not returned.

    Facts: `hook`, `plugin`, `reason`.
    """

    slug = "hook-unavailable"
    template = "Cannot call hook {hook} of plugin '{plugin}': {reason}"
