"""Which words call which verb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vdsmsh.catalogue import Catalogue, Verb
from vdsmsh.naming import kebab, long, short

#: Commands that vdsmsh has itself, with one line of help.
BUILTIN: Final[Mapping[str, str]] = {
    "complete": "Print the completion script of a shell.",
    "events": "Show what happens on the host, while it happens.",
    "help": "Show the help of a command, or all commands.",
    "task wait": "Wait for a task to end and show its progress.",
}
#: Commands under a second name, because that is where people look for them.
_ALSO: Final[Mapping[str, str]] = {"plugin list": "Host.getPlugins", "verb list": "Host.getVerbs"}


@dataclass(frozen=True)
class Found:
    """A command and the words that follow it. Without a verb it is one of `BUILTIN`."""

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
        """The command that a line begins with; None if there is none."""
        pair = " ".join(words[:2])
        if pair in BUILTIN:
            return Found(pair, None, words[2:])
        # `events` is a command of its own, and `events list` a verb.
        if pair in self._verbs:
            return Found(pair, self._verbs[pair], words[2:])
        if words and words[0] in BUILTIN:
            return Found(words[0], None, words[1:])
        return None

    def groups(self) -> dict[str, list[str]]:
        """The second words of each first word."""
        groups: dict[str, list[str]] = {}
        for name in sorted({*self._verbs, *(name for name in BUILTIN if " " in name)}):
            first, second = name.split(" ", 1)
            groups.setdefault(first, []).append(second)
        return groups

    def summary(self, name: str) -> str:
        """One line of help."""
        return BUILTIN[name] if name in BUILTIN else self._verbs[name].summary


def _by_name(catalogue: Catalogue) -> dict[str, Verb]:
    commands: dict[str, Verb] = {}
    # A plain name goes before one whose `get` was dropped.
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
