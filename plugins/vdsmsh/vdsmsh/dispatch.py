"""From the words of a line to what is done."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from vdsmsh import helptext
from vdsmsh.commands import Commands, Found
from vdsmsh.display import Display
from vdsmsh.eventcommand import run_events
from vdsmsh.failures import UsageError
from vdsmsh.schema import Schema
from vdsmsh.session import Session
from vdsmsh.settings import Settings, add_options
from vdsmsh.verbcommand import run_verb
from vdsmsh.waiting import wait_for

_HELP = frozenset({"-h", "--help"})


def dispatch(session: Session, settings: Settings, words: Sequence[str]) -> None:
    """Carry out one line.

    :raises ClientError: it cannot be carried out
    :raises TransportError: the host refused, or did not answer
    """
    found = find(session, settings, words)
    if found is None:
        _explain(session, settings, words)
    elif found.verb is not None:
        run_verb(session, settings, found.name, found.verb, found.rest)
    elif found.name == "task wait":
        _wait(session, settings, found.rest)
    elif found.name == "events":
        run_events(session, settings, found.rest)
    else:
        _help(session, settings, found.rest)


def find(session: Session, settings: Settings, words: Sequence[str]) -> Found | None:
    """The command of a line; a host that has learned it since is asked again."""
    found = session.commands(settings.reading).find(words)
    if found is None and len(words) > 1 and words[1] not in _HELP and not session.fresh:
        session.refresh(settings.reading)
        found = session.commands(settings.reading).find(words)
    return found


def _help(session: Session, settings: Settings, words: Sequence[str]) -> None:
    """`help`, `help vm`, `help vm create`."""
    if words:
        dispatch(session, settings, [*words, "--help"])
    else:
        print(helptext.overview(session.commands(settings.reading)), file=session.streams.stdout)


def _explain(session: Session, settings: Settings, words: Sequence[str]) -> None:
    commands = session.commands(settings.reading)
    group = words[0]
    if group in commands.groups() and _HELP & set(words[1:2]):
        print(helptext.group(commands, group), file=session.streams.stdout)
        return
    raise UsageError(_what_instead(commands, group, words[1] if len(words) > 1 else ""))


def _what_instead(commands: Commands, group: str, second: str) -> str:
    groups = commands.groups()
    if group not in groups:
        near = difflib.get_close_matches(group, groups, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(groups)}"
        return f"there is no command '{group}'; {hint}"
    if not second or second.startswith("-"):
        return f"'{group}' needs one of its commands: {', '.join(groups[group])}"
    near = difflib.get_close_matches(second, groups[group], 1)
    hint = f"did you mean '{group} {near[0]}'?" if near else f"there are {', '.join(groups[group])}"
    return f"there is no command '{group} {second}'; {hint}"


def _wait(session: Session, settings: Settings, words: Sequence[str]) -> None:
    about = "Wait for a task to end and show its progress. Ctrl-C ends the waiting, not the task."
    display = Display(
        session.streams.stdout, about, "Prints the result of the task. Exit code 4 if it failed."
    )
    parser = display.get_parser("vdsmsh task wait")
    display.parameters.add_argument("task", metavar="TASK", help="id of the task")
    add_options(parser)
    parsed = parser.parse_args(words)
    settings = settings.updated(parsed)
    display.show(wait_for(session, settings, parsed.task), Schema({}), [], parsed)
