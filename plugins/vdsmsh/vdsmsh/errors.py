"""The errors of the command line itself, and the exit codes of the process."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the process. They are part of the interface."""

    OK = 0
    #: The host answered with an error, or the object named does not exist.
    REFUSED = 1
    #: The command line is not valid; nothing was sent.
    USAGE = 2
    #: No answer: nothing listens, the connection broke, or the timeout passed.
    UNREACHABLE = 3
    #: The task that was waited for failed or was aborted.
    TASK_FAILED = 4
    #: Of several hosts at least one refused or did not answer; standard error says which.
    PARTLY = 5
    #: Ctrl-C, numbered as shells do: 128 + SIGINT.
    INTERRUPTED = 130
    #: The reader of standard output has closed it: 128 + SIGPIPE.
    BROKEN_PIPE = 141


class ClientError(Exception):
    """The command cannot be carried out. The text is one line."""

    code: Exit = Exit.REFUSED


class UsageError(ClientError):
    """The command line is not valid."""

    code = Exit.USAGE


class NoSuchName(ClientError):
    """No object has this name, or more than one has it."""


class WaitTimeout(ClientError):
    """The events that were waited for did not arrive in time."""

    code = Exit.UNREACHABLE


class TaskFailed(ClientError):
    """The task that was waited for did not succeed."""

    code = Exit.TASK_FAILED


class PartlyFailed(ClientError):
    """Of several hosts, at least one refused or did not answer."""

    code = Exit.PARTLY
