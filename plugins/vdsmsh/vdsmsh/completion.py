"""What may come next on a line: commands, options, values, and the objects of the host.

The same answers serve the completion scripts of bash and zsh and the interactive shell.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vdsm_bridge.transport import TransportError
from vdsmsh.arguments import Option, Signature
from vdsmsh.commands import BUILTIN, Commands, Found
from vdsmsh.eventlines import FORMATS
from vdsmsh.failures import ClientError, Exit
from vdsmsh.objects import Resolver
from vdsmsh.session import Session, Streams
from vdsmsh.settings import Settings, take_connection
from vdsmsh.watching import lists

#: Nobody waits longer at a prompt.
_PATIENCE: Final = 2.0
_FORMATS: Final = ("csv", "json", "table", "value", "yaml")
#: Options of every command: whether a value follows, and which values there are.
_SHARED: Final[dict[str, tuple[bool, tuple[str, ...]]]] = {
    "--column": (True, ()),
    "--dry-run": (False, ()),
    "--flow-id": (True, ()),
    "--format": (True, _FORMATS),
    "--help": (False, ()),
    "--quiet": (False, ()),
    "--request-id": (True, ()),
    "--sort-column": (True, ()),
    "--timeout": (True, ()),
    "--token-file": (True, ()),
    "--url": (True, ()),
    "--verbose": (False, ()),
    "-c": (True, ()),
    "-f": (True, _FORMATS),
}
#: Those of `events`.
_EVENTS: Final[dict[str, tuple[bool, tuple[str, ...]]]] = {
    "--after": (True, ()),
    "--count": (True, ()),
    "--format": (True, FORMATS),
    "--snapshot": (False, ()),
    "-f": (True, FORMATS),
}
#: Those that are about columns.
_OF_TABLES: Final = frozenset({"--column", "--sort-column", "-c"})
_SHELLS: Final = ("bash", "zsh")


@dataclass(frozen=True)
class Candidate:
    """A word that may come next, and what it is."""

    text: str
    about: str = ""


class Completer:
    """Completes lines for one host."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self._session = session
        self._settings = replace(settings, timeout=min(settings.timeout, _PATIENCE))

    def candidates(self, words: Sequence[str], current: str) -> list[Candidate]:
        """What may stand in the place of `current`, after `words`. A host that does not answer has no say."""
        try:
            found = self._candidates(list(words), current)
        except (ClientError, TransportError):
            return []
        return sorted((c for c in found if c.text.startswith(current)), key=lambda candidate: candidate.text)

    def _candidates(self, words: list[str], current: str) -> list[Candidate]:
        line = _without_options_in_front(words)
        if line is None:
            return []
        return self._of_line(line, current)

    def _of_line(self, words: list[str], current: str) -> list[Candidate]:
        commands = self._session.commands(self._settings.reading)
        found = commands.find(words)
        if found is None or (found.name == "help" and found.rest):
            return self._names(commands, found.rest if found else words, current)
        if found.verb is None:
            return self._of_own_command(commands, found, current)
        return self._of_verb(
            Signature(found.verb, self._session.catalogue(self._settings.reading)), found, current
        )

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
            return [Candidate(flag) for flag in _SHARED]
        own = [Candidate(name, text) for name, text in BUILTIN.items() if " " not in name]
        return [*own, *(Candidate(group) for group in groups if group not in BUILTIN)]

    def _of_own_command(self, commands: Commands, found: Found, current: str) -> list[Candidate]:
        if found.name == "help":
            return self._names(commands, (), current)
        if found.name == "complete":
            return (
                [Candidate(shell) for shell in _SHELLS] if "--shell" in found.rest else [Candidate("--shell")]
            )
        if found.name == "events":
            return self._of_events(commands, found, current)
        if current.startswith("-"):
            return [Candidate(flag) for flag in _SHARED]
        keys = self._session.catalogue(self._settings.reading).keys()
        lister = keys.get("taskID", "")
        return self._objects(lister, current) if lister and not found.rest else []

    def _of_events(self, commands: Commands, found: Found, current: str) -> list[Candidate]:
        """Options, kinds of events, and the verbs that share the first word."""
        last = found.rest[-1] if found.rest else ""
        flags = {**_SHARED, **_EVENTS}
        if last in flags and flags[last][0]:
            return [Candidate(value) for value in flags[last][1]]
        if current.startswith("-"):
            return [Candidate(flag) for flag in flags if flag not in _OF_TABLES]
        kinds = self._session.call("Events.getKinds", {}, self._settings.reading)
        patterns = [Candidate(f"{kind['component']}.{kind['operation']}", kind["summary"]) for kind in kinds]
        return patterns if found.rest else patterns + self._names(commands, ["events"], current)

    def _of_verb(self, signature: Signature, found: Found, current: str) -> list[Candidate]:
        flags = _flags(signature)
        last = found.rest[-1] if found.rest else ""
        if last in flags and _takes_value(flags[last]):
            return self._values(flags[last], current)
        if last in _SHARED and last not in flags and _SHARED[last][0]:
            return [Candidate(value) for value in _SHARED[last][1]] + self._columns(last, signature)
        flag, equals, value = current.partition("=")
        if equals and flag in flags:
            return [Candidate(f"{flag}={c.text}", c.about) for c in self._values(flags[flag], value)]
        if current.startswith("-"):
            own = [Candidate(name, option.doc) for name, option in flags.items()]
            if lists(signature.verb, self._session.catalogue(self._settings.reading)):
                own.append(Candidate("--watch"))
            return own + [Candidate(name) for name in _SHARED if name not in flags]
        if signature.positional is not None and not _has_object(found.rest, flags):
            return self._values(signature.positional, current)
        return []

    @staticmethod
    def _columns(flag: str, signature: Signature) -> list[Candidate]:
        if flag not in ("-c", "--column", "--sort-column"):
            return []
        schema = signature.result
        inner = schema.items if schema.kind == "array" else (schema.values or schema)
        return [Candidate(name) for name in inner.single.properties]

    def _values(self, option: Option, current: str) -> list[Candidate]:
        if option.listed_by:
            return self._objects(option.listed_by, current)
        return [Candidate(word) for word in option.words]

    def _objects(self, lister: str, current: str) -> list[Candidate]:
        options = self._settings.reading
        resolver = Resolver(
            self._session.catalogue(options), lambda verb: self._session.call(verb, {}, options)
        )
        found = []
        names = [named.name for named in resolver.objects(lister)]
        for named in resolver.objects(lister):
            unique = bool(named.name) and names.count(named.name) == 1
            if unique:
                found.append(Candidate(named.name, named.id))
            # Ids beside names would bury the names, so they wait until somebody begins to type one.
            if not unique or (current and named.id.startswith(current)):
                found.append(Candidate(named.id, named.name))
        return found


def _flags(signature: Signature) -> dict[str, Option]:
    flags = {}
    for option in signature.options:
        for flag in option.flags:
            flags[flag] = option
            if option.schema.kind == "boolean":
                flags[f"--no-{flag[2:]}"] = option
    return flags


def _takes_value(option: Option) -> bool:
    return option.schema.kind != "boolean"


def _has_object(words: Sequence[str], flags: dict[str, Option]) -> bool:
    """Whether a word on the line already names the object."""
    queue = iter(words)
    for word in queue:
        if not word.startswith("-"):
            return True
        option = flags.get(word)
        takes = _takes_value(option) if option is not None else _SHARED.get(word, (False, ()))[0]
        if takes:
            next(queue, "")
    return False


def _without_options_in_front(words: list[str]) -> list[str] | None:
    """The words from the command on; None if the next word is the value of an option in front of it."""
    while words and words[0].startswith("-"):
        flag = words.pop(0)
        if _SHARED.get(flag, (False, ()))[0]:
            if not words:
                return None
            words.pop(0)
    return words


def split(line: str) -> tuple[list[str], str]:
    """The whole words of a line, and the one that is being typed; an open quotation mark is no error."""
    start = start_of_last_word(line)
    try:
        return shlex.split(line[:start]), _unquoted(line[start:])
    except ValueError:
        return [], ""


def start_of_last_word(line: str) -> int:
    """Where the word begins that is being typed at the end of a line."""
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
    # A backslash at the end quotes what has not been typed yet.
    bare = text.removesuffix("\\")
    for closing in ("", '"', "'"):
        try:
            return "".join(shlex.split(bare + closing))
        except ValueError:
            continue
    return bare


def answer(words: Sequence[str], connect: Callable[[dict[str, str]], Session], streams: Streams) -> int:
    """Answer a completion script: one line for each candidate, its help after a tab.

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
            # bash takes "=" for the end of a word, and completes what follows it.
            print(text.partition("=")[2] if "=" in current else text, file=streams.stdout)
        else:
            print(f"{text}\t{' '.join(candidate.about.split())}", file=streams.stdout)
    return Exit.OK
