"""Errors of hook scripts."""

from __future__ import annotations

from vdsm_core.errors import InvalidArgument, OperationFailed


class HookScriptFailed(OperationFailed):
    """A hook script failed, was ended, or left a document that cannot be used.

    Facts: `point`, `script` (its file name), `reason`.
    """

    slug = "hook-script-failed"
    template = "Hook script {point}/{script} failed: {reason}"


class BadCustomProperty(InvalidArgument):
    """A custom property does not have the form that is defined for it, or is not defined.

    Facts: `argument`, `reason`.
    """

    slug = "bad-custom-property"
