"""The commands of a catalogue: which words call which verb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vdsmsh.api.catalogue import Catalogue, Verb
from vdsmsh.api.naming import kebab, long, short
from vdsmsh.quick.helptext import BETTER, NAMES, about

#: The commands of vdsmsh itself, with one line of help.
BUILTIN: Final[Mapping[str, str]] = {
    "complete": "Print the completion script of a shell.",
    "events": "Print the events of the host as they happen.",
    "help": "Show the help of a command, or all commands.",
    "whoami": "Show the identity of the caller: name, role, credentials, limits.",
    "task wait": "Wait until a task has ended and show its progress.",
}
#: The commands on machines, which are not derived from a verb.
PEOPLE: Final = frozenset(f"vm {name}" for name in NAMES)
#: Second names of commands, where people look for them.
_ALSO: Final[Mapping[str, str]] = {
    "hook runs": "Host.getHookRuns",
    "plugin list": "Host.getPlugins",
    "verb list": "Host.getVerbs",
}
#: Commands of one word that stand for a verb.
_ONE_WORD: Final[Mapping[str, str]] = {"whoami": "host who-am-i"}


@dataclass(frozen=True)
class Found:
    """A command and the words that follow it.

    :ivar verb: None for one of `BUILTIN`
    """

    name: str
    verb: Verb | None
    rest: Sequence[str]


class Commands:
    """The commands of one catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._verbs = _by_name(catalogue)

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """The verb of each command, sorted by command."""
        return self._verbs

    def find(self, words: Sequence[str]) -> Found | None:
        """Return the command at the beginning of a line; None if there is none."""
        if words and words[0] in _ONE_WORD:
            name = _ONE_WORD[words[0]]
            return Found(name, self._verbs[name], words[1:]) if name in self._verbs else None
        pair = " ".join(words[:2])
        if pair in BUILTIN:
            return Found(pair, None, words[2:])
        # `events` is a command of its own, and `events list` a verb.
        if pair in self._verbs:
            return Found(pair, self._verbs[pair], words[2:])
        if words and words[0] in BUILTIN:
            return Found(words[0], None, words[1:])
        return None

    def groups(self, *, every: bool = True) -> dict[str, list[str]]:
        """Return the second words of each first word.

        :param every: also those of verbs that have a better command
        """
        groups: dict[str, list[str]] = {}
        shown = {
            name for name, verb in self._verbs.items() if every or name in PEOPLE or verb.name not in BETTER
        }
        if any(name.startswith("vm ") for name in shown):
            shown |= PEOPLE
        for name in sorted({*shown, *(name for name in BUILTIN if " " in name)}):
            first, second = name.split(" ", 1)
            groups.setdefault(first, []).append(second)
        return groups

    def words(self) -> dict[str, list[str]]:
        """Return the second words of each first word; none of the commands of one word."""
        # What follows a command of one word, the program completes: `events` is one and has verbs as well.
        return {**self.groups(), **{name: [] for name in BUILTIN if " " not in name}}

    def summary(self, name: str) -> str:
        """Return one line of help."""
        if name in PEOPLE:
            return about(name.partition(" ")[2])
        return BUILTIN[name] if name in BUILTIN else self._verbs[name].summary


def _by_name(catalogue: Catalogue) -> dict[str, Verb]:
    commands: dict[str, Verb] = {}
    # A name without `get` has precedence over one whose `get` was dropped.
    for verb in sorted(catalogue.verbs.values(), key=lambda verb: short(verb.method) != long(verb.method)):
        group = kebab(verb.namespace)
        name = f"{group} {short(verb.method)}"
        commands[f"{group} {long(verb.method)}" if name in commands else name] = verb
    for verb in catalogue.verbs.values():
        lister = catalogue.verbs.get(verb.listed_by)
        if lister is not None:
            commands.setdefault(f"{kebab(verb.namespace)} list", lister)
    for name, target in _ALSO.items():
        if target in catalogue.verbs:
            commands.setdefault(name, catalogue.verbs[target])
    return dict(sorted(commands.items()))
