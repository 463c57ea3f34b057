"""Errors of calls to the privileged helper."""

from __future__ import annotations

from vdsm_core.errors import DeadlineExceeded, OperationFailed, Unavailable


class HelperUnavailable(Unavailable):
    """The privileged helper cannot run an operation; it was not begun.

    Facts: `operation`, `reason` (a clause that ends with what to do).
    """

    slug = "helper-unavailable"
    template = "Cannot run the privileged operation {operation}: {reason}"


class OperationDeadline(DeadlineExceeded):
    """A privileged operation did not end in time; it may still be carried out.

    Facts: `operation`, `seconds`.
    """

    slug = "operation-deadline"
    in_doubt = True
    template = (
        "The privileged operation {operation} did not end within {seconds:g} s and may still be carried out. "
        "Read the state of the object before you repeat the request"
    )


class OperationOutcomeUnknown(OperationFailed):
    """The privileged helper ended while it ran an operation that cannot be repeated safely.

    Facts: `operation`.
    """

    slug = "operation-outcome-unknown"
    in_doubt = True
    template = (
        "The privileged helper ended while it ran the operation {operation}, which may have been done. "
        "Read the state of the object before you repeat the request"
    )
