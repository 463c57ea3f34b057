"""Candidates for the next word of a line: commands, options, values, and the objects of the host.

The completion scripts of bash and zsh and the interactive shell share them.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from vdsm_bridge.transport import TransportError
from vdsmsh.api.command_names import BUILTIN, PEOPLE, Commands, Found
from vdsmsh.api.objects import Resolver
from vdsmsh.api.signature import Option, Signature
from vdsmsh.commands.people import is_for_people
from vdsmsh.connection.session import Session
from vdsmsh.errors import ClientError, Exit
from vdsmsh.quick.helptext import flags_of
from vdsmsh.settings import Settings, front_parser, take_connection
from vdsmsh.streams import Streams

#: Seconds to wait for the host: a prompt that takes longer is no help.
_TIMEOUT: Final = 2.0
#: Where cliff puts the values of its options that take columns.
_COLUMNS: Final = frozenset({"columns", "sort_columns"})

#: The options of a parser by flag.
Options = Mapping[str, argparse.Action]


@dataclass(frozen=True)
class Candidate:
    """A word that may come next, and its description."""

    text: str
    about: str = ""


class Completer:
    """Completes lines for one host."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self._session = session
        self._settings = replace(settings, timeout=min(settings.timeout, _TIMEOUT))

    def candidates(self, words: Sequence[str], current: str) -> list[Candidate]:
        """Return what may replace `current` after `words`; nothing if the host does not answer."""
        try:
            found = self._candidates(list(words), current)
        except (ClientError, TransportError):
            return []
        return sorted((c for c in found if c.text.startswith(current)), key=lambda candidate: candidate.text)

    def _candidates(self, words: list[str], current: str) -> list[Candidate]:
        line = _without_options_in_front(words)
        if line is None:
            return []
        commands = self._session.commands(self._settings.reading)
        if is_for_people(line) and line[1] != "list" and f"vm {line[1]}" in PEOPLE:
            return self._for_people(line, current)
        found = commands.find(line)
        if found is None or (found.name == "help" and found.rest):
            return self._names(commands, found.rest if found else line, current)
        if found.verb is None:
            return self._of_builtin(commands, found, current)
        signature = Signature(found.verb, self._session.catalogue(self._settings.reading))
        return self._of_verb(signature, found, current)

    def _for_people(self, line: Sequence[str], current: str) -> list[Candidate]:
        """Return the options of a command on machines, or the names of machines."""
        if current.startswith("-"):
            return [Candidate(flag) for flag in flags_of(line[1])]
        lister = self._session.catalogue(self._settings.reading).keys().get("vmID", "")
        return self._objects(lister, {}, current) if lister and line[1] != "top" else []

    @staticmethod
    def _names(commands: Commands, words: Sequence[str], current: str) -> list[Candidate]:
        groups = commands.groups()
        if len(words) == 1 and words[0] in groups:
            return [
                Candidate(second, commands.summary(f"{words[0]} {second}")) for second in groups[words[0]]
            ]
        if words:
            return []
        if current.startswith("-"):
            return _flags(_options(front_parser()))
        own = [Candidate(name, text) for name, text in BUILTIN.items() if " " not in name]
        return [*own, *(Candidate(group) for group in groups if group not in BUILTIN)]

    def _of_builtin(self, commands: Commands, found: Found, current: str) -> list[Candidate]:
        if found.name == "help":
            return self._names(commands, (), current)
        options = self._builtin_options(found.name)
        last = found.rest[-1] if found.rest else ""
        if last in options and _takes_value(options[last]):
            return [Candidate(str(value)) for value in options[last].choices or ()]
        if current.startswith("-") or found.name == "complete":
            return _flags(options)
        if found.name == "events":
            return self._events(commands, found)
        lister = self._session.catalogue(self._settings.reading).keys().get("taskID", "")
        return (
            self._objects(lister, {}, current)
            if lister and not _positional_words(found.rest, options)
            else []
        )

    def _builtin_options(self, name: str) -> Options:
        if name == "events":
            return _options(importlib.import_module("vdsmsh.commands.events").events_parser())
        if name == "complete":
            return _options(importlib.import_module("vdsmsh.commands.complete").complete_parser())
        return _options(importlib.import_module("vdsmsh.commands.task").wait_parser(self._display()))

    def _events(self, commands: Commands, found: Found) -> list[Candidate]:
        """Return the kinds of events and, for the first word, the verbs whose command is `events ...`."""
        kinds = self._session.call("Events.getKinds", {}, self._settings.reading)
        patterns = [Candidate(f"{kind['component']}.{kind['operation']}", kind["summary"]) for kind in kinds]
        return patterns if found.rest else patterns + self._names(commands, ["events"], "")

    def _of_verb(self, signature: Signature, found: Found, current: str) -> list[Candidate]:
        # Building the parser loads cliff, which takes longer than all the rest: build it for options only.
        with_options = any(word.startswith("-") for word in (*found.rest, current))
        options = self._verb_options(signature, found.name) if with_options else {}
        words = _positional_words(found.rest, options)
        last = found.rest[-1] if found.rest else ""
        if last in options and _takes_value(options[last]):
            return self._option_values(signature, options[last], words, current)
        flag, equals, value = current.partition("=")
        if equals and flag in options:
            values = self._option_values(signature, options[flag], words, value)
            return [Candidate(f"{flag}={candidate.text}", candidate.about) for candidate in values]
        if current.startswith("-"):
            return _flags(options)
        if len(words) < len(signature.positionals):
            return self._values(signature.positionals[len(words)], self._ids(signature, words), current)
        return []

    def _ids(self, signature: Signature, words: Sequence[str]) -> dict[str, str]:
        """Return the ids that the words on the line name so far, by their parameters.

        :raises NoSuchName: one names no object
        """
        named = zip(signature.positionals, words, strict=False)
        return self._resolver().resolve(signature, {option.path[0]: word for option, word in named})

    def _verb_options(self, signature: Signature, name: str) -> Options:
        verb = importlib.import_module("vdsmsh.commands.verb")
        catalogue = self._session.catalogue(self._settings.reading)
        return _options(verb.verb_parser(self._display(), name, signature, catalogue))

    def _display(self) -> Any:
        return importlib.import_module("vdsmsh.output.display").Display(self._session.streams.stdout, "", "")

    def _option_values(
        self, signature: Signature, action: argparse.Action, words: Sequence[str], current: str
    ) -> list[Candidate]:
        for option in signature.options:
            if option.dest == action.dest:
                return self._values(option, self._ids(signature, words), current)
        if action.dest in _COLUMNS:
            schema = signature.result
            inner = schema.items if schema.kind == "array" else (schema.values or schema)
            return [Candidate(name) for name in inner.single.properties]
        return [Candidate(str(value)) for value in action.choices or ()]

    def _values(self, option: Option, ids: dict[str, str], current: str) -> list[Candidate]:
        if option.listed_by:
            return self._objects(option.listed_by, ids, current)
        return [Candidate(word) for word in option.words]

    def _resolver(self) -> Resolver:
        options = self._settings.reading
        return Resolver(
            self._session.catalogue(options), lambda verb, given: self._session.call(verb, given, options)
        )

    def _objects(self, lister: str, ids: dict[str, str], current: str) -> list[Candidate]:
        found = []
        objects = self._resolver().objects(lister, ids) or []
        names = [named.name for named in objects]
        for named in objects:
            unique = bool(named.name) and names.count(named.name) == 1
            if unique:
                found.append(Candidate(named.name, named.id))
            # Offer ids of named objects only after their first characters: they would crowd out the names.
            if not unique or (current and named.id.startswith(current)):
                found.append(Candidate(named.id, named.name))
        return found


def _options(parser: argparse.ArgumentParser) -> Options:
    # argparse has no public way to list the options of a parser.
    return parser._option_string_actions  # noqa: SLF001


def _flags(options: Options) -> list[Candidate]:
    return [
        Candidate(flag, (action.help or "").replace("%%", "%"))
        for flag, action in options.items()
        if action.help is not argparse.SUPPRESS
    ]


def _takes_value(action: argparse.Action) -> bool:
    return action.nargs != 0


def _positional_words(words: Sequence[str], options: Options) -> list[str]:
    """Return the words that are neither options nor their values."""
    found = []
    previous = ""
    for word in words:
        value = previous in options and _takes_value(options[previous])
        if not value and not word.startswith("-"):
            found.append(word)
        previous = word
    return found


def _without_options_in_front(words: list[str]) -> list[str] | None:
    """Return the words from the command on; None if the next word is the value of an option before it."""
    options = _options(front_parser()) if words and words[0].startswith("-") else {}
    while words and words[0].startswith("-"):
        flag = words.pop(0)
        if flag in options and _takes_value(options[flag]):
            if not words:
                return None
            words.pop(0)
    return words


def split(line: str) -> tuple[list[str], str]:
    """Return the complete words of a line, and the last one, whose quotation mark may be open."""
    start = start_of_last_word(line)
    try:
        return shlex.split(line[:start]), _unquoted(line[start:])
    except ValueError:
        return [], ""


def start_of_last_word(line: str) -> int:
    """Return the position at which the last word of a line begins."""
    start, quote, escaped = 0, "", False
    for position, character in enumerate(line):
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character.isspace():
            start = position + 1
    return start


def _unquoted(text: str) -> str:
    # A backslash at the end escapes a character that has not been typed yet.
    bare = text.removesuffix("\\")
    for closing in ("", '"', "'"):
        try:
            return "".join(shlex.split(bare + closing))
        except ValueError:
            continue
    return bare


def answer(words: Sequence[str], connect: Callable[[dict[str, str]], Session], streams: Streams) -> int:
    """Answer a completion script: print a line for each candidate, its description after a tab.

    :param words: the shell, and the line up to the cursor
    """
    shell, line = [*words, "", ""][:2]
    before, current = split(line)
    try:
        connection, rest = take_connection(before[1:])
        session = connect(connection)
    except (ClientError, TransportError):
        return Exit.OK
    with contextlib.closing(session):
        candidates = list(Completer(session, Settings()).candidates(rest, current))
    for candidate in candidates:
        text = candidate.text
        if shell == "bash":
            # bash breaks words at "=", and completes the part after it.
            print(text.partition("=")[2] if "=" in current else text, file=streams.stdout)
        else:
            print(f"{text}\t{' '.join(candidate.about.split())}", file=streams.stdout)
    return Exit.OK
