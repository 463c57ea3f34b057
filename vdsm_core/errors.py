"""The tree of errors.

::

    VdsmError
    ├── InvalidRequest        the request is invalid as it is
    │   ├── MissingArgument
    │   ├── InvalidArgument
    │   └── RequestIdReused
    ├── AccessRefused
    │   ├── Unauthenticated
    │   └── Forbidden
    │       ├── OutOfScope
    │       └── NotOwner
    ├── NotFound
    │   ├── NoSuchVerb
    │   └── NoSuchTask
    ├── Conflict              the state of the object forbids it now
    │   └── TaskStateError
    ├── Unavailable           try again later
    │   ├── ResourceExhausted
    │   │   └── LimitExceeded
    │   ├── StateUnavailable
    │   ├── HypervisorUnavailable
    │   │   └── HypervisorLost
    │   └── NotResponding
    ├── DeadlineExceeded
    │   ├── QueueDeadline
    │   └── HypervisorDeadline
    ├── OperationFailed       a component below the host refused
    │   ├── HypervisorError
    │   ├── OutcomeUnknown
    │   └── TaskInterrupted
    ├── UnexpectedError       a bug in a verb
    └── ConfigError
        └── PluginsMissing

Feature plugins derive their own errors from the branch that fits; a binding maps the branches, by class,
once. `slug` is stable and is what programs compare; `code` is VDSM's number where VDSM had one, otherwise
100, VDSM's general failure. Facts are the keyword arguments of the constructor.
"""

from __future__ import annotations

from typing import Any, ClassVar


class VdsmError(Exception):
    """Cannot carry out the request"""

    slug: ClassVar[str] = "error"
    code: ClassVar[int] = 100
    #: Filled with the facts by `str.format`. It states what cannot be done, and why.
    template: ClassVar[str] = "Cannot carry out the request: {reason}"
    #: Whether the host may have done, or may still do, what it could not confirm.
    in_doubt: ClassVar[bool] = False

    def __init__(self, **facts: Any) -> None:
        super().__init__()
        self.facts = facts

    def __str__(self) -> str:
        try:
            return self.template.format(**self.facts)
        except (LookupError, ValueError, TypeError, AttributeError):
            # A failure here would hide the error itself: list the facts if they do not fit the template.
            detail = ", ".join(f"{name}={value!r}" for name, value in self.facts.items())
            return f"{type(self).__doc__} ({detail})" if detail else str(type(self).__doc__)


class InvalidRequest(VdsmError):
    """The request is invalid as it is"""

    slug = "invalid-request"
    code = 91


class MissingArgument(InvalidRequest):
    """A required argument is absent. Facts: `argument`."""

    slug = "missing-argument"
    code = 11
    template = "Argument '{argument}' is missing"


class InvalidArgument(InvalidRequest):
    """An argument is unknown, ill-typed or out of range. Facts: `argument`, `reason`."""

    slug = "invalid-argument"
    code = 91
    template = "Argument '{argument}' is not acceptable: {reason}"


class TooManyItems(InvalidArgument):
    """An array or structure is too long. Facts: `argument`, `limit`, `option`."""

    slug = "too-many-items"
    template = "Cannot use argument '{argument}': it has more than {limit} elements ({option})"


class RequestIdReused(InvalidRequest):
    """A request id was reused with another verb or other arguments. Facts: `request_id`, `verb`."""

    slug = "request-id-reused"
    template = "Request id '{request_id}' was already used for another request ({verb})"


class AccessRefused(VdsmError):
    """The caller may not do this"""

    slug = "access-refused"


class Unauthenticated(AccessRefused):
    """The caller could not be identified. Facts: `reason`."""

    slug = "unauthenticated"
    template = "Cannot identify the caller: {reason}"


class Forbidden(AccessRefused):
    """The caller's roles do not suffice. Facts: `verb`, `identity`, `needed`."""

    slug = "forbidden"
    template = "'{identity}' may not call {verb}: it needs the role '{needed}'"


class OutOfScope(Forbidden):
    """The caller's credentials are limited to other verbs or objects. Facts: `verb`, `identity`, `reason`."""

    slug = "out-of-scope"
    template = "'{identity}' may not call {verb}: {reason}"


class NotOwner(Forbidden):
    """The task belongs to another caller, and only an admin may change it. Facts: `task_id`, `identity`."""

    slug = "not-owner"
    template = (
        "'{identity}' may not change task '{task_id}': it belongs to another caller, this needs 'admin'"
    )


class NotFound(VdsmError):
    """An object that the request names does not exist"""

    slug = "not-found"


class NoSuchVerb(NotFound):
    """No enabled plugin offers this verb. Facts: `verb`."""

    slug = "no-such-verb"
    template = "There is no verb '{verb}'"


class NoSuchTask(NotFound):
    """No task of this id is known. Facts: `task_id`."""

    slug = "no-such-task"
    code = 401
    template = "There is no task '{task_id}'"


class Conflict(VdsmError):
    """The state of the object forbids it now"""

    slug = "conflict"


class TaskStateError(Conflict):
    """The state of the task forbids this. Facts: `task_id`, `state`, `action`, `reason`."""

    slug = "task-state"
    code = 410
    template = "Cannot {action} task '{task_id}' in state {state}: {reason}"


class Unavailable(VdsmError):
    """Not possible at the moment; the same request may succeed later. Facts: `reason`."""

    slug = "unavailable"
    code = 40
    template = "Not possible at the moment: {reason}"


class ResourceExhausted(Unavailable):
    """A queue or a pool of the daemon is full. Facts: `reason`."""

    slug = "resource-exhausted"
    code = 1100
    template = "The daemon is at its limit: {reason}"


class LimitExceeded(ResourceExhausted):
    """One client has reached a limit of the configuration. Facts: `limit`, `option`, `retry_after` (s)."""

    slug = "limit-exceeded"
    template = "Cannot take the call: the limit of one client is {limit} ({option})"


class TooManyCalls(LimitExceeded):
    """Too many calls of one client are in flight. Facts: `limit`, `option`, `retry_after` (s)."""

    slug = "too-many-calls"
    template = (
        "Cannot take the call: {limit} calls of this client are in flight, the maximum ({option}). "
        "Wait for one of them to end"
    )


class CallRateExceeded(LimitExceeded):
    """One client calls too often. Facts: `limit` (calls per second), `option`, `retry_after` (s)."""

    slug = "call-rate-exceeded"
    template = (
        "Cannot take the call: this client makes more than {limit:g} calls per second ({option}). "
        "Try again in {retry_after:g} s"
    )


class TooManySubscriptions(LimitExceeded):
    """One client has too many subscriptions to events. Facts: `limit`, `option`, `retry_after` (s)."""

    slug = "too-many-subscriptions"
    template = (
        "Cannot subscribe: this client has {limit} subscriptions, the maximum ({option}). "
        "End one of them, or wait until it expires"
    )


class StateUnavailable(Unavailable):
    """The daemon cannot write its state: a full or read-only disk, or a folder that is gone.

    Facts: `file`, `reason`.
    """

    slug = "state-unavailable"
    template = (
        "Cannot write the daemon's state {file}: {reason}. "
        "Make room or repair the file system, then send the request again"
    )


class HypervisorUnavailable(Unavailable):
    """The connection to the hypervisor is down. Facts: `uri`, `reason`."""

    slug = "hypervisor-unavailable"
    template = "The hypervisor {uri} cannot be reached: {reason}"


class HypervisorLost(HypervisorUnavailable):
    """The connection to the hypervisor broke during a call, which may have been carried out.

    Facts: `uri`, `operation`, `object`, `reason`.
    """

    slug = "hypervisor-lost"
    in_doubt = True
    template = (
        "The connection to {uri} broke during '{operation}' on '{object}', "
        "which may have been carried out: {reason}"
    )


class NotResponding(Unavailable):
    """An earlier call on this object has not returned yet. Facts: `object`, `operation`, `seconds`."""

    slug = "not-responding"
    template = "'{object}' does not respond: its call '{operation}' has been running for {seconds:.1f} s"


class DeadlineExceeded(VdsmError):
    """The request could not be finished before its deadline"""

    slug = "deadline-exceeded"


class QueueDeadline(DeadlineExceeded):
    """The deadline passed while the call was queued behind earlier calls on its object.

    Facts: `lane`, `place` (1 is next), `waited` (s), `holder` (the call that runs).
    """

    slug = "queue-deadline"
    code = 40
    template = (
        "The deadline passed after {waited:.1f} s in the queue of {lane}, at position {place}; "
        "'{holder}' still runs there"
    )


class HypervisorDeadline(DeadlineExceeded):
    """The hypervisor did not answer in time; the call continues. Facts: `operation`, `object`, `seconds`."""

    slug = "hypervisor-deadline"
    in_doubt = True
    template = (
        "The hypervisor did not finish '{operation}' on '{object}' within {seconds:.1f} s; "
        "it may still carry it out"
    )


class OperationFailed(VdsmError):
    """A component below the host refused. Facts: `reason`."""

    slug = "operation-failed"
    template = "The operation failed: {reason}"


class HypervisorError(OperationFailed):
    """The hypervisor refused. Facts: `operation`, `reason`, `libvirt_code` (VIR_ERR_* number)."""

    slug = "hypervisor-error"
    template = "The hypervisor refused '{operation}': {reason}"


class OutcomeUnknown(OperationFailed):
    """The daemon ended while the first call with this request id ran. Facts: `request_id`, `verb`."""

    slug = "outcome-unknown"
    in_doubt = True
    template = (
        "The daemon stopped while {verb} with request id '{request_id}' ran; "
        "read the state of the object, then use a new request id"
    )


class TaskInterrupted(OperationFailed):
    """The daemon ended while the task ran. Facts: `task_id`, `left`."""

    slug = "task-interrupted"
    code = 411
    template = "The daemon stopped while task '{task_id}' ran: {left}"


class UnexpectedError(VdsmError):
    """A bug: the log has the details under the same id. Facts: `incident`, `verb`."""

    slug = "unexpected-error"
    code = 16
    template = "{verb} failed unexpectedly; the log has the details under incident {incident}"


class ConfigError(VdsmError):
    """A configuration file cannot be used. Facts: `file`, `key`, `reason`."""

    slug = "config-error"
    code = 101
    template = "{file}: {key}: {reason}"


class PluginsMissing(ConfigError):
    """Plugins that the configuration requires are absent or broken. Facts: `names`, `reasons`."""

    slug = "plugins-missing"
    template = "These plugins are required ('required' in [daemon]), and cannot be used: {reasons}"


def tree(root: type[VdsmError] = VdsmError) -> list[type[VdsmError]]:
    """Return every error class of this process, `root` first, each parent before its children."""
    found = [root]
    for child in sorted(root.__subclasses__(), key=lambda cls: cls.__name__):
        found += tree(child)
    # A class with two parents is found below both: its last place is after both of them.
    return list(dict.fromkeys(reversed(found)))[::-1]
