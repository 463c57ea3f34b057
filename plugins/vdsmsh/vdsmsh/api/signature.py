"""The options of a verb, derived from the JSON Schemas of its parameters, and the arguments they yield.

The object that a verb is called on is the first word; if it lies in others, these stand before it. Every
other parameter is an option. Where exactly one parameter is a structure, its members are options, too:
`VM.create` is called with `--memory 512`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vdsmsh.api.catalogue import Catalogue, Parameter, Verb
from vdsmsh.api.naming import kebab, stem
from vdsmsh.api.schema import Schema
from vdsmsh.api.values import in_unit, merge, parse, read
from vdsmsh.errors import UsageError
from vdsmsh.settings import CONNECTION, CONNECTION_FLAGS

#: Options that no verb may redefine; a parameter of that name gets a prefix.
RESERVED = frozenset({*CONNECTION, *CONNECTION_FLAGS, "--help", "--file"})


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option or, without flags, a word that names the object or one that it lies in.

    :ivar path: parameter, or parameter and member
    :ivar bounds: unit, range and default, for the help
    :ivar listed_by: the verb that lists the objects of which this names one; empty if it names none
    """

    flags: tuple[str, ...]
    path: tuple[str, ...]
    schema: Schema
    required: bool = False
    doc: str = ""
    bounds: str = ""
    listed_by: str = ""

    @property
    def dest(self) -> str:
        """Its name in the parsed namespace."""
        return ".".join(("argument", *self.path))

    @property
    def secret(self) -> bool:
        """Whether its value is a secret, which other users of this machine can read on the command line."""
        return bool(self.flags) and self.schema.node.get("format") == "password"

    @property
    def file_flags(self) -> tuple[str, ...]:
        """The spellings of the option that names a file with the value; none if it is no secret."""
        return tuple(f"{flag}-file" for flag in self.flags) if self.secret else ()

    @property
    def file_dest(self) -> str:
        """The name of that option in the parsed namespace."""
        return f"file.{self.dest}"

    @property
    def repeated(self) -> bool:
        """Whether it may be given more than once."""
        return self.schema.kind in ("array", "object")

    @property
    def metavar(self) -> str:
        """The placeholder of the value in the help."""
        if not self.flags:
            return kebab(stem(self.path[0])).upper()
        if self.schema.kind in ("array", "object"):
            inner = self.schema.items if self.schema.kind == "array" else self.schema
            return "JSON|@FILE" if inner.kind in ("object", "array", "any") else _metavar(inner, self)
        return _metavar(self.schema, self)

    @property
    def words(self) -> list[str]:
        """The allowed values, for completion; empty if they are not limited to a list."""
        schema = self.schema.items.single if self.schema.kind == "array" else self.schema
        return [str(choice) for choice in schema.choices]

    def spelled(self) -> str:
        """Return its name for a message."""
        return self.flags[0] if self.flags else self.metavar

    def value(self, words: Sequence[str]) -> Any:
        """Return the value of the words that were given.

        :raises UsageError: one of them does not match the schema
        """
        try:
            if self.schema.kind == "array":
                return [item for word in words for item in self._items(word)]
            if self.schema.kind == "object":
                merged: dict[str, Any] = {}
                for word in words:
                    merged = merge(merged, parse(word, self.schema))
                return merged
            return parse(self._without_unit(words[-1]), self.schema)
        except ValueError as error:
            numbers = self.schema.kind in ("integer", "number")
            about = f" ({self.doc.rstrip('.')})" if numbers and self.doc else ""
            raise UsageError(f"{self.spelled()}: {error}{about}") from None

    def _without_unit(self, word: str) -> str:
        """Return a size such as `1G` as a number in the unit of the parameter; other words unchanged.

        :raises ValueError: it is no whole number of that unit
        """
        kinds = {choice.kind for choice in (self.schema, *self.schema.alternatives)}
        return in_unit(word, f"{self.doc} {self.schema.description}") if "integer" in kinds else word

    def _items(self, word: str) -> list[Any]:
        """Return the item that a word is, or all items of a word that is a JSON list."""
        inner = self.schema.items
        text = read(word[1:]).strip() if word.startswith("@") and not word.startswith("@@") else word
        if text.startswith("["):
            return list(parse(text, Schema({"type": "array"})))
        return [parse(word, inner)]


def _metavar(schema: Schema, option: Option) -> str:
    if schema.choices:
        return "|".join(map(str, schema.choices))
    if schema.kind == "choice" and any(choice.kind == "boolean" for choice in schema.alternatives):
        return "true|false"
    name = next((flag for flag in option.flags), option.path[-1])
    return {"integer": "N", "number": "X", "choice": "VALUE"}.get(
        schema.kind, name.lstrip("-").rpartition("-")[2].upper()
    )


class Signature:
    """The words that may follow the name of a command."""

    def __init__(self, verb: Verb, catalogue: Catalogue) -> None:
        self.verb = verb
        self._keys = catalogue.keys()
        self._key = catalogue.key_of(verb.namespace)
        self._creates = verb.part == "create"
        self.result = Schema(verb.result)
        self.structure = _structure(verb, self._key)
        #: The words that name the object, the outermost one first.
        self.positionals: list[Option] = []
        self.options: list[Option] = []
        self._taken: set[str] = set(RESERVED)
        for parameter in verb.parameters:
            self._add(parameter)
        self.positionals.sort(key=lambda option: verb.keys.index(option.path[0]))
        #: The option whose value may stand as a word after those; None if there is not exactly one.
        self.lone = self._lone()
        if self.structure is not None:
            self._add_members(self.structure)

    def _lone(self) -> Option | None:
        """Return the only required parameter of a verb on an object, if it is a number or a text."""
        required = [option for option in self.options if option.required]
        if not self.positionals or len(required) != 1 or required[0].secret:
            return None
        kinds = ("string", "integer", "number", "choice", "boolean")
        return required[0] if required[0].schema.kind in kinds else None

    def _add(self, parameter: Parameter) -> None:
        schema = Schema(parameter.schema).single
        named = parameter.name in self.verb.keys
        flags = () if named else self._flags(parameter.name, schema)
        option = Option(
            flags=flags,
            path=(parameter.name,),
            schema=schema,
            bounds=schema.bounds,
            required=parameter.required and parameter is not self.structure,
            doc=parameter.doc,
            listed_by=self._listed_by(parameter.name, schema),
        )
        (self.positionals if named else self.options).append(option)

    def _add_members(self, parameter: Parameter) -> None:
        schema = Schema(parameter.schema).single
        for name, member in schema.properties.items():
            inner = member.single
            self.options.append(
                Option(
                    flags=self._flags(name, inner, member, inside=parameter.name),
                    path=(parameter.name, name),
                    schema=inner,
                    bounds=", ".join(dict.fromkeys(b for b in (inner.bounds, member.bounds) if b)),
                    required=name in schema.required,
                    doc=member.description or inner.description,
                    listed_by=self._listed_by(name, inner),
                )
            )

    def _flags(
        self, name: str, schema: Schema, outer: Schema | None = None, inside: str = ""
    ) -> tuple[str, ...]:
        """Return the spellings that are still free, the preferred one first."""
        plain, prefix = kebab(name), kebab(stem(self._key)) if self._key else ""
        candidates = [hint for hint in (outer.hint if outer else "", schema.hint) if hint]
        if inside and prefix and plain.startswith(f"{prefix}-"):
            candidates.append(plain[len(prefix) + 1 :])
        candidates.append(plain)
        free = [flag for flag in dict.fromkeys(f"--{name}" for name in candidates) if flag not in self._taken]
        if not free:
            free = [f"--{kebab(inside or self.verb.namespace)}-{plain}"]
        self._taken.update(free)
        return tuple(free)

    def _listed_by(self, name: str, schema: Schema) -> str:
        names_new_object = self._creates and name == self._key
        text = schema.items.kind if schema.kind == "array" else schema.kind
        return "" if names_new_object or text != "string" else self._keys.get(name, "")

    @property
    def all(self) -> list[Option]:
        """The words that name the object, if there are any, then the options."""
        return [*self.positionals, *self.options]

    def arguments(self, given: Mapping[str, Sequence[str]], file: str = "") -> dict[str, Any]:
        """Return the arguments of a call.

        :param given: the words of each option, by `Option.dest`
        :param file: a JSON file with members of the structure; options override it
        :raises UsageError: a word does not match its schema, or a required option is missing
        """
        arguments: dict[str, Any] = {}
        if self.structure is not None and file:
            arguments[self.structure.name] = _document(file)
        for option in sorted(self.all, key=lambda option: len(option.path)):
            if option.dest in given:
                arguments = merge(arguments, _nested(option.path, option.value(given[option.dest])))
        self._give_id(arguments)
        self._check(arguments)
        return arguments

    def without_secrets(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments with `***` in place of each secret that an option sets."""
        shown = dict(arguments)
        for option in self.options:
            if option.secret and _has(arguments, option.path):
                shown = merge(shown, _nested(option.path, "***"))
        return shown

    def _give_id(self, arguments: dict[str, Any]) -> None:
        """Add a new UUID as the id of the object to create, unless the line has one."""
        if not self._creates:
            return
        for option in self.all:
            fresh = option.path[-1] == self._key and option.schema.node.get("format") == "uuid"
            if fresh and option.required and not _has(arguments, option.path):
                arguments.update(merge(arguments, _nested(option.path, str(uuid.uuid4()))))

    def _check(self, arguments: dict[str, Any]) -> None:
        structure = self.structure
        if structure is not None and structure.required:
            arguments.setdefault(structure.name, {})
        for option in self.all:
            needed = option.required and (len(option.path) == 1 or option.path[0] in arguments)
            if needed and not _has(arguments, option.path):
                raise UsageError(f"{option.spelled()} is required")


def _structure(verb: Verb, key: str) -> Parameter | None:
    """Return the one parameter with known members; None if there is none, or more than one."""
    known = [p for p in verb.parameters if p.name != key and Schema(p.schema).single.properties]
    return known[0] if len(known) == 1 else None


def _document(file: str) -> dict[str, Any]:
    try:
        text = read(file)
    except ValueError as error:
        raise UsageError(f"--file: {error}") from None
    try:
        document = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--file: {file} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise UsageError(f'--file: {file} is not a JSON object, as in {{"name": "value"}}')
    return document


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return dict(value)


def _has(arguments: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(arguments, dict) or name not in arguments:
            return False
        arguments = arguments[name]
    return True
