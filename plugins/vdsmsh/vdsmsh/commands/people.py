"""The commands of `vdsmsh.quick` over any transport: TLS, the bus, the shell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vdsm_bridge.transport import CallRefused, Unreachable
from vdsmsh.connection.fleet import FleetSession
from vdsmsh.connection.session import Session
from vdsmsh.errors import ClientError, Exit, UsageError
from vdsmsh.quick import commands
from vdsmsh.quick.errors import Failed, NotQuick, Refused, Usage
from vdsmsh.quick.helptext import NAMES
from vdsmsh.quick.options import seconds
from vdsmsh.settings import Settings

if TYPE_CHECKING:
    from vdsmsh.quick.machines import Call
    from vdsmsh.quick.options import Line

_ABSENT = "no-such-verb"
_VERBOSE = frozenset({"-v", "--verbose"})


def is_for_people(words: Sequence[str]) -> bool:
    """Return whether a line is one of the commands on machines."""
    return list(words[:1]) == ["vm"] and len(words) > 1 and words[1] in NAMES


def run(session: Session, settings: Settings, words: Sequence[str]) -> bool:
    """Carry out a line; return False if it is for the command of the verb.

    :raises ClientError: the line is not valid, or the command failed
    """
    special = settings.dry_run or settings.request_id
    if not is_for_people(words) or isinstance(session, FleetSession) or special:
        return False
    rest = [word for word in words[2:] if word not in _VERBOSE]
    verbose = settings.verbosity > 1 or len(rest) < len(words) - 2
    console = commands.Console(session.streams.stdout, session.streams.stderr)
    try:
        code = commands.run(words[1], rest, _calls(session, settings, console, verbose=verbose), console)
    except NotQuick:
        return False
    except Usage as error:
        raise UsageError(str(error)) from None
    except Failed as error:
        if isinstance(error, Refused) and error.slug == _ABSENT:
            return False
        raise _Ended(str(error), error.code) from None
    if code:
        raise _Ended("", code)
    return True


def _calls(
    session: Session, settings: Settings, console: commands.Console, *, verbose: bool
) -> Callable[[Line], Call]:
    """Return what makes, of a line, a function that calls verbs of the host of a session."""

    def call_of(line: Line) -> Call:
        # `--quiet` before the command counts as after it.
        console.quiet = console.quiet or settings.verbosity == 0
        timeout = seconds(line.timeout or f"{settings.timeout:g}", "--timeout")
        options = replace(settings.reading, timeout=timeout)

        def call(verb: str, arguments: dict[str, Any]) -> Any:
            try:
                return session.call(verb, arguments, options, verbose=verbose)
            except CallRefused as error:
                raise Refused(error.message, error.slug, error.code) from None
            except Unreachable as error:
                raise Failed(str(error), Exit.UNREACHABLE) from None

        return call

    return call_of


class _Ended(ClientError):
    """The command has failed; it may have printed why."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = Exit(code)
