"""The objects of a host by name: where a command takes an id, it takes a name, too."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vdsmsh.api.catalogue import Catalogue
from vdsmsh.api.naming import kebab, stem
from vdsmsh.api.signature import Option, Signature
from vdsmsh.errors import NoSuchName


@dataclass(frozen=True)
class Named:
    """One object.

    :ivar name: empty if it has none
    """

    id: str
    name: str


def named_objects(listing: Any, key: str) -> list[Named]:
    """Return the objects in the result of a verb that lists them: a list of records or ids, or a map by id.

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
    # VDSM's structures spell ids differently: vmId, vmID.
    return next((str(value) for name, value in record.items() if name.lower() in wanted), "")


def _name(record: Any, key: str) -> str:
    if not isinstance(record, Mapping):
        return ""
    wanted = {"name", f"{stem(key)}name".lower()}
    return next((str(value) for name, value in record.items() if name.lower() in wanted), "")


class Resolver:
    """Replaces names by ids.

    :param ask: calls a query of the host with arguments
    """

    def __init__(self, catalogue: Catalogue, ask: Callable[[str, Mapping[str, Any]], Any]) -> None:
        self._catalogue = catalogue
        self._ask = ask
        self._known: dict[tuple[str, ...], list[Named]] = {}

    def resolve(self, signature: Signature, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments with ids in the place of names; parents first, for they list their children.

        :raises NoSuchName: no object has the name, or several have it
        """
        for option in signature.all:
            if option.listed_by:
                _replace(arguments, option.path, partial(self._any, option, dict(arguments)))
        return arguments

    def objects(self, lister: str, arguments: Mapping[str, Any]) -> list[Named] | None:
        """Return the objects that a verb lists, asking for them once; None if it cannot be asked.

        :param arguments: those of the call; among them may be the ids of the parents whose objects it lists
        """
        keys = self._catalogue.verbs[lister].keys
        if not all(isinstance(arguments.get(key), str) for key in keys):
            return None
        given = {key: str(arguments[key]) for key in keys}
        asked = (lister, *given.values())
        if asked not in self._known:
            key = self._catalogue.key_listed_by(lister)
            self._known[asked] = named_objects(self._ask(lister, given), key)
        return self._known[asked]

    def _any(self, option: Option, arguments: Mapping[str, Any], value: Any) -> Any:
        if isinstance(value, list):
            return [self._any(option, arguments, item) for item in value]
        return self._one(value, option, arguments) if isinstance(value, str) else value

    def _one(self, word: str, option: Option, arguments: Mapping[str, Any]) -> str:
        schema = option.schema.items.single if option.schema.kind == "array" else option.schema
        pattern = schema.node.get("pattern")
        if pattern and re.search(pattern, word):
            return word
        objects = self.objects(option.listed_by, arguments)
        if objects is None or any(named.id == word for named in objects):
            return word
        matches = [named.id for named in objects if named.name == word]
        kind = self._kind(option)
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise NoSuchName(
                f"the {kind} '{word}' is ambiguous: {len(matches)} have this name; give one of the ids "
                f"{', '.join(matches)}"
            )
        near = difflib.get_close_matches(word, [named.name for named in objects], 1)
        parents = [str(arguments[key]) for key in self._catalogue.verbs[option.listed_by].keys]
        command = " ".join(["vdsmsh", kebab(kind), "list", *parents])
        hint = f"did you mean '{near[0]}'?" if near else f"`{command}` lists them"
        raise NoSuchName(f"there is no {kind} '{word}'; {hint}")

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
