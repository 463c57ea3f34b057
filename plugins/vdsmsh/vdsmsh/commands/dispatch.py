"""From the words of a line to the command that they name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Sequence

from vdsmsh.api.command_names import Commands, Found
from vdsmsh.commands import help as helptext
from vdsmsh.commands import people
from vdsmsh.connection.session import Session
from vdsmsh.errors import UsageError
from vdsmsh.settings import ALL_VERBS, Settings

_HELP = frozenset({"-h", "--help"})


def dispatch(session: Session, settings: Settings, words: Sequence[str]) -> None:
    """Carry out one line.

    :raises ClientError: the line is not valid, or the command failed
    :raises TransportError: the host refused, or did not answer
    """
    if people.run(session, settings, words):
        return
    found = find(session, settings, words)
    if found is None:
        _explain(session, settings, words)
    elif found.verb is not None:
        # Each command is imported for itself: verbs and `task wait` load cliff, which is slow.
        importlib.import_module("vdsmsh.commands.verb").run_verb(
            session, settings, found.name, found.verb, found.rest
        )
    elif found.name == "task wait":
        importlib.import_module("vdsmsh.commands.task").run_task_wait(session, settings, found.rest)
    elif found.name == "events":
        importlib.import_module("vdsmsh.commands.events").run_events(session, settings, found.rest)
    elif found.name == "complete":
        importlib.import_module("vdsmsh.commands.complete").print_script(found.rest, session.streams)
    else:
        _help(session, settings, found.rest)


def find(session: Session, settings: Settings, words: Sequence[str]) -> Found | None:
    """Return the command of a line. Refresh the catalogue before giving up: the cache may be out of date."""
    found = session.commands(settings.reading).find(words)
    if found is None and len(words) > 1 and words[1] not in _HELP and not session.fresh:
        session.refresh(settings.reading)
        found = session.commands(settings.reading).find(words)
    return found


def _help(session: Session, settings: Settings, words: Sequence[str]) -> None:
    """Carry out `help`, `help vm`, `help vm create`."""
    every = ALL_VERBS in words
    words = [word for word in words if word != ALL_VERBS]
    if words:
        dispatch(session, settings, [*words, "--help", *([ALL_VERBS] if every else [])])
    else:
        print(helptext.overview(session.commands(settings.reading), every=every), file=session.streams.stdout)


def _explain(session: Session, settings: Settings, words: Sequence[str]) -> None:
    """Print the help of a group of commands, or say why the words are no command."""
    commands = session.commands(settings.reading)
    group = words[0]
    if group in commands.groups() and _HELP & set(words[1:3]) and set(words[1:]) <= {*_HELP, ALL_VERBS}:
        print(helptext.group(commands, group, every=ALL_VERBS in words), file=session.streams.stdout)
        return
    raise UsageError(_unknown_command(commands, group, words[1] if len(words) > 1 else ""))


def _unknown_command(commands: Commands, group: str, second: str) -> str:
    groups = commands.groups()
    if group not in groups:
        return f"there is no command '{group}'; {_suggestion(group, groups)}"
    if not second or second.startswith("-"):
        return f"'{group}' needs one of its commands: {', '.join(groups[group])}"
    return f"there is no command '{group} {second}'; {_suggestion(second, groups[group], f'{group} ')}"


def _suggestion(word: str, known: Iterable[str], before: str = "") -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean '{before}{near[0]}'?" if near else f"there are {', '.join(known)}"
