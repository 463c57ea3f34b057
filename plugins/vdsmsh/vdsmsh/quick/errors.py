"""Errors of the quick way."""

from __future__ import annotations


class NotQuick(Exception):
    """The line is for the program as a whole; nothing was sent that changes anything."""


class Usage(Exception):
    """The line is not valid. Exit code 2."""


class Failed(Exception):
    """The command cannot be carried out, or its work has failed.

    :ivar code: the exit code of the process
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Refused(Failed):
    """The host answered with an error.

    :ivar slug: its stable name
    """

    def __init__(self, message: str, slug: str, number: int) -> None:
        super().__init__(f"{message} ({slug}, {number})")
        self.slug = slug
        self.number = number
