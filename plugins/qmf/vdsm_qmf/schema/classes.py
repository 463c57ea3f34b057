"""The schema of the host: one class for each namespace of verbs, one for each kind of event.

All of it is derived from the declarations. The hash of a class covers the whole class: it changes exactly
when the class does.
"""

from __future__ import annotations

import functools
import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from vdsm_bridge import Param, Verb
from vdsm_bridge.events import EventParams, Gap
from vdsm_qmf.protocol.bodies import ABSENT, DATA, EVENT, EVENT_ID, EVENT_TIME, PREVIOUS, SEQ
from vdsm_qmf.schema import types as qmftypes
from vdsm_qmf.schema.objects import Kind, kinds
from vdsm_qmf.schema.types import TypeName, type_name

PACKAGE: Final = "vdsm"
#: The class of the agent itself, with the methods that are no verbs.
AGENT_CLASS: Final = "Agent"

#: Severities (RFC 5424, section 6.2.1).
WARNING: Final = 4
INFO: Final = 6

_STRING: Final = TypeName(type=qmftypes.STRING)
_WHOLE: Final = TypeName(type=qmftypes.INT)
_UNIX_TIME: Final = TypeName(type=qmftypes.FLOAT, unit="s")


class Property(msgspec.Struct, frozen=True, kw_only=True):
    """A property or statistic of a class, an argument of a method, or a value of an event."""

    name: str
    type: TypeName
    doc: str = ""
    index: bool = False
    optional: bool = False
    statistic: bool = False
    #: "I" or "O" for an argument of a method.
    direction: str = ""
    #: What consoles of QMFv1 send for an argument that is not given; None: they require the argument.
    default: str | None = None
    #: Whether null is a value of its own; if not, an optional argument that is null is absent.
    nullable: bool = False

    def to_map(self) -> dict[str, Any]:
        """Return the QMFv2 form."""
        form: dict[str, Any] = {"_name": self.name, "_type": self.type.type, "_access": "RO"}
        if self.direction:
            form["_dir"] = self.direction
        if self.type.unit:
            form["_unit"] = self.type.unit
        if self.doc:
            form["_desc"] = self.doc
        if self.index:
            form["_index"] = True
        if self.optional:
            form["_optional"] = True
        for name, bound in (("_min", self.type.low), ("_max", self.type.high)):
            if bound is not None:
                form[name] = int(bound) if self.type.type == qmftypes.INT else float(bound)
        return form


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """A method of a class."""

    name: str
    doc: str
    arguments: tuple[Property, ...]

    def to_map(self) -> dict[str, Any]:
        """Return the QMFv2 form."""
        return {
            "_name": self.name,
            "_desc": self.doc,
            "_arguments": [argument.to_map() for argument in self.arguments],
        }

    def present(self, arguments: Mapping[str, Any], *, filled_in: bool) -> dict[str, Any]:
        """Return the arguments that a call really has: an optional one that is null is absent.

        :param filled_in: the console sends the default of the schema for each argument that is not given
        """
        optional = {one.name: one for one in self.arguments if one.optional}
        return {
            name: value
            for name, value in arguments.items()
            if (one := optional.get(name)) is None or not _means_absent(value, one, filled_in=filled_in)
        }


def _means_absent(value: Any, argument: Property, *, filled_in: bool) -> bool:
    if value is None:
        return not argument.nullable
    return filled_in and isinstance(value, str) and value == argument.default


class SchemaClass(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A class of objects or of events."""

    package: str
    name: str
    kind: str
    doc: str = ""
    properties: tuple[Property, ...] = ()
    methods: tuple[Method, ...] = ()
    severity: int = INFO

    @functools.cached_property
    def hash(self) -> uuid.UUID:
        """The hash of everything in the class."""
        defaults = [[one.default for one in method.arguments] for method in self.methods]
        content = [self.package, self.name, self.kind, self._body(), defaults]
        digest = hashlib.md5(msgspec.json.encode(content, order="sorted"), usedforsecurity=False)
        return uuid.UUID(bytes=digest.digest())

    @functools.cached_property
    def id(self) -> Mapping[str, Any]:
        """The schema id."""
        return {
            "_package_name": self.package,
            "_class_name": self.name,
            "_type": self.kind,
            "_hash": self.hash,
        }

    @functools.cached_property
    def by_method(self) -> Mapping[str, Method]:
        """Methods by their names."""
        return {one.name: one for one in self.methods}

    def to_map(self) -> dict[str, Any]:
        """Return the QMFv2 form."""
        return {"_schema_id": dict(self.id), **self._body()}

    def _body(self) -> dict[str, Any]:
        form: dict[str, Any] = {
            "_properties": [one.to_map() for one in self.properties],
            "_methods": [one.to_map() for one in self.methods],
        }
        if self.doc:
            form["_desc"] = self.doc
        if self.kind == EVENT:
            form["_default_severity"] = self.severity
        return form


class Schema(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All classes of one revision of the API."""

    classes: tuple[SchemaClass, ...]
    kinds: Mapping[str, Kind]

    @functools.cached_property
    def by_hash(self) -> Mapping[bytes, SchemaClass]:
        """Classes by the bytes of their hash."""
        return {one.hash.bytes: one for one in self.classes}

    @functools.cached_property
    def _by_name(self) -> Mapping[tuple[str, str], SchemaClass]:
        return {(one.kind, one.name): one for one in self.classes}

    @functools.cached_property
    def hashes(self) -> frozenset[uuid.UUID]:
        """The hash of each class: the set changes exactly when something does."""
        return frozenset(one.hash for one in self.classes)

    def data_class(self, name: str) -> SchemaClass:
        """Return the class of a namespace. :raises KeyError: there is none"""
        return self._by_name[DATA, name]

    def method(self, class_name: str, name: str) -> Method | None:
        """Return a method of a namespace; None if there is none."""
        found = self._by_name.get((DATA, class_name))
        return None if found is None else found.by_method.get(name)

    def event_class(self, name: str) -> SchemaClass | None:
        """Return the class of an event; None if there is none."""
        return self._by_name.get((EVENT, name))

    def select(self, wanted: Mapping[str, Any]) -> list[SchemaClass]:
        """Return the classes that match a whole or partial schema id; an empty one matches all."""
        wanted = {name: value for name, value in wanted.items() if value not in (None, "")}
        return [
            one
            for one in self.classes
            if all(str(one.id.get(name, "")) == str(value) for name, value in wanted.items())
        ]


def build(verbs: Mapping[str, Verb], events: Iterable[type[EventParams]]) -> Schema:
    """Build the schema of some declarations. The order in which plugins offer them does not matter."""
    verbs = dict(sorted(verbs.items()))
    found = kinds(verbs)
    classes = [
        _data_class(kind, [verb for verb in verbs.values() if verb.namespace.name == name])
        for name, kind in found.items()
    ]
    classes.append(_agent_class())
    unique = {one.name: one for one in map(_event_class, events)}
    return Schema(classes=tuple(classes) + tuple(unique.values()), kinds=found)


def result_name(verb: Verb) -> str:
    """Return the name of a verb's result among the arguments of its method."""
    return "return" if any(param.name == "result" for param in verb.params) else "result"


def event_class_name(component: str, operation: str) -> str:
    """Return the name of an event's class, from the first two parts of the event's id."""
    return f"{component}_{operation}"


def _data_class(kind: Kind, verbs: Sequence[Verb]) -> SchemaClass:
    doc = next((text for verb in verbs if (text := _first_line(verb.namespace.__doc__))), "")
    found: dict[str, Property] = {}
    for key in kind.keys:
        found[key] = Property(name=key, type=_STRING, index=True)
    for source in kind.sources:
        for one in _fields(source.type, statistic=source.statistic):
            found.setdefault(one.name, one)
    return SchemaClass(
        package=PACKAGE,
        name=kind.name,
        kind=DATA,
        doc=doc,
        properties=tuple(found.values()),
        methods=tuple(map(_method, verbs)),
    )


def _fields(type_: Any, *, statistic: bool = False) -> list[Property]:
    struct = qmftypes.struct_type(type_)
    if struct is None:
        return []
    return [
        Property(
            name=field.encode_name,
            type=type_name(field.type),
            optional=not field.required,
            statistic=statistic,
        )
        for field in msgspec.structs.fields(struct)
    ]


def _method(verb: Verb) -> Method:
    arguments = [_argument(verb, param) for param in verb.params]
    if verb.reply not in (None, type(None)):
        arguments.append(
            Property(name=result_name(verb), type=type_name(verb.reply), doc=verb.result_doc, direction="O")
        )
    return Method(name=verb.method, doc=verb.summary, arguments=tuple(arguments))


def _argument(verb: Verb, param: Param) -> Property:
    type_ = type_name(param.type)
    # On an object its ids need not be given: its name has them.
    is_key = verb.on_object and param.name in verb.keys
    default = None
    if is_key:
        default = ""
    elif not param.required:
        default = qmftypes.default_text(type_.type, param.default)
    return Property(
        name=param.name,
        type=type_,
        doc=param.doc,
        direction="I",
        optional=is_key or not param.required,
        default=default,
        nullable=qmftypes.takes_null(param.type) and param.default is not None,
    )


def _event_class(params: type[EventParams]) -> SchemaClass:
    return SchemaClass(
        package=PACKAGE,
        name=event_class_name(params.component, params.operation),
        kind=EVENT,
        doc=_first_line(params.__doc__),
        properties=(*_numbers(), *_fields(params)),
        severity=WARNING if issubclass(params, Gap) else INFO,
    )


def _numbers() -> tuple[Property, ...]:
    return (
        Property(name=SEQ, type=_WHOLE, index=True, doc="number of the event; grows, never repeats"),
        Property(name=PREVIOUS, type=_WHOLE, doc="number of the event before it"),
        Property(name=EVENT_ID, type=_STRING, doc="|component|operation|object"),
        Property(
            name=EVENT_TIME,
            type=TypeName(type=qmftypes.FLOAT, unit="s"),
            doc="Unix time at which it happened",
        ),
        Property(
            name=ABSENT,
            type=TypeName(type=qmftypes.LIST),
            doc="names of the arguments that it does not have: these hold an empty value",
        ),
    )


def _agent_class() -> SchemaClass:
    return SchemaClass(
        package=PACKAGE,
        name=AGENT_CLASS,
        kind=DATA,
        doc="The host on the message bus",
        properties=(
            Property(name="name", type=_STRING, index=True, doc="name of the agent"),
            Property(name="revision", type=_STRING, doc="changes when the API of the host does"),
        ),
        methods=(
            Method(
                name="call",
                doc="Call any verb of the host by its full name",
                arguments=(
                    Property(name="verb", type=_STRING, direction="I", doc="full name, such as VM.pause"),
                    Property(
                        name="arguments",
                        type=TypeName(type=qmftypes.MAP),
                        direction="I",
                        optional=True,
                        default="",
                        doc="arguments of the verb by name",
                    ),
                    Property(
                        name="result",
                        type=TypeName(type=qmftypes.MAP),
                        direction="O",
                        doc="what the verb returns",
                    ),
                ),
            ),
            Method(
                name="replayEvents",
                doc="Events that happened after one number",
                arguments=(
                    Property(name="after", type=_WHOLE, direction="I", doc="number of the last known event"),
                    Property(
                        name="most",
                        type=_WHOLE,
                        direction="I",
                        optional=True,
                        default="",
                        doc="events at the most",
                    ),
                    Property(
                        name="pattern",
                        type=_STRING,
                        direction="I",
                        optional=True,
                        default="",
                        doc="ids of the wanted events, with *",
                    ),
                    Property(
                        name="events", type=TypeName(type=qmftypes.LIST), direction="O", doc="in their order"
                    ),
                    Property(
                        name="last", type=_WHOLE, direction="O", doc="number up to which these are complete"
                    ),
                ),
            ),
        ),
    )


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0].strip()
