"""The objects of a host by name: names work wherever ids do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vdsmsh.arguments import Option, Signature
from vdsmsh.catalogue import Catalogue
from vdsmsh.failures import NoSuchName
from vdsmsh.naming import stem


@dataclass(frozen=True)
class Named:
    """One object; `name` is empty where it has none."""

    id: str
    name: str


def named_objects(listing: Any, key: str) -> list[Named]:
    """The objects in the answer of a verb that lists them: a list of records or of ids, or a map by id.

    :param key: the wire name of their key, `vmID`
    """
    if isinstance(listing, Mapping):
        pairs = [(str(id_), record) for id_, record in listing.items()]
    else:
        pairs = [(_id(record, key), record) for record in listing or ()]
    return [Named(id_, _name(record, key)) for id_, record in pairs if id_]


def _id(record: Any, key: str) -> str:
    if not isinstance(record, Mapping):
        return str(record)
    wanted = {key.lower(), "id", "uuid"}
    # Spelling of ids varies among VDSM's structures: vmId, vmID.
    return next((str(value) for name, value in record.items() if name.lower() in wanted), "")


def _name(record: Any, key: str) -> str:
    if not isinstance(record, Mapping):
        return ""
    wanted = {"name", f"{stem(key)}name".lower()}
    return next((str(value) for name, value in record.items() if name.lower() in wanted), "")


class Resolver:
    """Turns names into ids.

    :param ask: calls a query of the host
    """

    def __init__(self, catalogue: Catalogue, ask: Callable[[str], Any]) -> None:
        self._catalogue = catalogue
        self._ask = ask
        self._known: dict[str, list[Named]] = {}

    def resolve(self, signature: Signature, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments with ids in the place of names.

        :raises NoSuchName: no object has the name, or several have it
        """
        for option in signature.all:
            if option.listed_by:
                _replace(arguments, option.path, partial(self._any, option))
        return arguments

    def objects(self, lister: str) -> list[Named]:
        """The objects that a verb lists; asked for once."""
        if lister not in self._known:
            key = self._catalogue.key_listed_by(lister)
            self._known[lister] = named_objects(self._ask(lister), key)
        return self._known[lister]

    def _any(self, option: Option, value: Any) -> Any:
        if isinstance(value, list):
            return [self._any(option, item) for item in value]
        return self._one(value, option) if isinstance(value, str) else value

    def _one(self, word: str, option: Option) -> str:
        schema = option.schema.items.single if option.schema.kind == "array" else option.schema
        pattern = schema.node.get("pattern")
        if pattern and re.search(pattern, word):
            return word
        objects = self.objects(option.listed_by)
        if any(named.id == word for named in objects):
            return word
        matches = [named.id for named in objects if named.name == word]
        kind = self._kind(option)
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise NoSuchName(
                f"{len(matches)} objects of the kind {kind} are called '{word}': {', '.join(matches)}"
            )
        near = difflib.get_close_matches(word, [named.name for named in objects], 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise NoSuchName(f"there is no {kind} '{word}'{hint}")

    def _kind(self, option: Option) -> str:
        verbs = self._catalogue.verbs.values()
        return next((verb.namespace for verb in verbs if verb.key == option.path[-1]), stem(option.path[-1]))


def _replace(arguments: dict[str, Any], path: Sequence[str], change: Callable[[Any], Any]) -> None:
    *outer, last = path
    for name in outer:
        inner = arguments.get(name)
        if not isinstance(inner, dict):
            return
        arguments = inner
    if last in arguments:
        arguments[last] = change(arguments[last])
