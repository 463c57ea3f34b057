"""What can go wrong on the client's side, and the exit code of everything that can go wrong."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the process. They are part of the interface."""

    OK = 0
    #: The host answered with an error, or the object named does not exist.
    REFUSED = 1
    #: The command line cannot be understood; nothing was sent.
    USAGE = 2
    #: No answer: nothing listens, the connection broke, or the time was up.
    UNREACHABLE = 3
    #: The task that was waited for failed or was stopped.
    TASK_FAILED = 4
    #: Of several hosts some refused or did not answer; standard error says which.
    PARTLY = 5
    #: Ctrl-C, spelled as shells do: 128 + SIGINT.
    INTERRUPTED = 130
    #: Whoever read our output has gone: 128 + SIGPIPE.
    BROKEN_PIPE = 141


class ClientError(Exception):
    """The command cannot be carried out. The text is one line."""

    code: Exit = Exit.REFUSED


class UsageError(ClientError):
    """The command line cannot be understood."""

    code = Exit.USAGE


class NoSuchName(ClientError):
    """No object has this name, or more than one has it."""


class TimeIsUp(ClientError):
    """What was waited for has not come in time."""

    code = Exit.UNREACHABLE


class TaskFailed(ClientError):
    """The task that was waited for did not succeed."""

    code = Exit.TASK_FAILED


class PartlyFailed(ClientError):
    """Of several hosts, at least one refused or did not answer."""

    code = Exit.PARTLY
