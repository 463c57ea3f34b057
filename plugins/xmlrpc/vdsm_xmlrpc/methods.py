"""The methods that can be called, from the verbs that the host has now: canonical names and VDSM's own."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, get_origin

import msgspec

from vdsm_bridge import Bridge, Kind, Verb
from vdsm_bridge.errors import InvalidArgument, MissingArgument
from vdsm_bridge.types import TypeMismatch, convert
from vdsm_xmlrpc.kinds import kind_of
from vdsm_xmlrpc.legacy import IGNORED, METHODS, LegacyMethod
from vdsm_xmlrpc.marshal import Marshaller
from vdsm_xmlrpc.source import ARRAY, ARRAY_END

#: Where the result of a canonical method stands, beside `status`.
RESULT: Final = "result"
#: Where the id of a task stands, as VDSM put it.
TASK: Final = "uuid"


class Invocation(msgspec.Struct, frozen=True):
    """A verb and its arguments by wire name."""

    verb: Verb
    arguments: dict[str, Any]


class Method(ABC):
    """One method name: how its parameters become arguments, and the verb's result members of the reply."""

    def __init__(self, name: str, verb: Verb, marshaller: Marshaller) -> None:
        self.name = name
        self.verb = verb
        self._marshaller = marshaller

    @abstractmethod
    def bind(self, params: list[Any]) -> Invocation:
        """What is to be called.

        :raises InvalidArgument: there are too many parameters, or one is none that the method can take
        :raises MissingArgument: one that decides about the others is absent
        """

    @abstractmethod
    def reply(self, verb: Verb, result: Any) -> dict[str, list[bytes]]:
        """The encoded members beside `status`."""

    @property
    @abstractmethod
    def message(self) -> str:
        """The sentence of success."""

    @property
    @abstractmethod
    def positions(self) -> list[tuple[str, str, bool]]:
        """The parameters by position: name, kind, and whether it must be given."""


class Canonical(Method):
    """`VM.pause`: parameters in the declared order, or all by name in one struct.

    One struct as the only parameter is taken for named arguments, unless the verb's first parameter may
    itself be a struct; `by_name` is for those. A `nil` means that the argument is not given.
    """

    @property
    def takes_names(self) -> bool:
        """Whether a struct as the only parameter holds the arguments by name."""
        params = self.verb.params
        return not params or kind_of(params[0].type) not in ("struct", "any")

    def by_name(self, arguments: Mapping[str, Any]) -> Invocation:
        """What is to be called, with arguments by wire name."""
        return Invocation(self.verb, _given(arguments))

    def bind(self, params: list[Any]) -> Invocation:
        if len(params) == 1 and isinstance(params[0], dict) and self.takes_names:
            return self.by_name(params[0])
        declared = [param.name for param in self.verb.params]
        return Invocation(self.verb, _positional(declared, params))

    def reply(self, verb: Verb, result: Any) -> dict[str, list[bytes]]:
        members = {} if result is None else {RESULT: self._marshaller.splitter(verb.reply)(result)}
        if verb.kind is Kind.TASK:
            members[TASK] = [self._marshaller.any(result.task_id).encode()]
        return members

    @property
    def message(self) -> str:
        return self.verb.declaration.done or "Done"

    @property
    def positions(self) -> list[tuple[str, str, bool]]:
        return [(param.name, kind_of(param.type), param.required) for param in self.verb.params]


class Legacy(Method):
    """A method of VDSM's, by the table in `legacy`."""

    def __init__(
        self, name: str, verb: Verb, marshaller: Marshaller, entry: LegacyMethod, other: Verb | None
    ) -> None:
        super().__init__(name, verb, marshaller)
        self._entry = entry
        self._other = other

    def bind(self, params: list[Any]) -> Invocation:
        if self._entry.id_inside:
            return self._with_id_inside(params)
        switch = self._entry.switch
        if not switch:
            return Invocation(self.verb, _positional(self._entry.args, params))
        arguments = _positional((switch, *self._entry.args), params)
        meant = _truth(switch, arguments.pop(switch, None))
        return Invocation(self._other if meant and self._other is not None else self.verb, arguments)

    def reply(self, verb: Verb, result: Any) -> dict[str, list[bytes]]:
        members = {name: [self._marshaller.any(value).encode()] for name, value in self._entry.fixed.items()}
        if verb.kind is Kind.TASK:
            members[TASK] = [self._marshaller.any(result.task_id).encode()]
        elif self._entry.reply and result is not None:
            value = self._marshaller.splitter(verb.reply)(result)
            if self._entry.shape == "array" and get_origin(verb.reply) is not list:
                value = [ARRAY.encode(), *value, ARRAY_END.encode()]
            members[self._entry.reply] = value
        for field in msgspec.structs.fields(verb.reply) if self._entry.lifted else ():
            if field.encode_name in self._entry.lifted:
                members[field.encode_name] = self._marshaller.splitter(field.type)(
                    getattr(result, field.name)
                )
        return members

    @property
    def message(self) -> str:
        return self._entry.message or self.verb.declaration.done or "Done"

    @property
    def positions(self) -> list[tuple[str, str, bool]]:
        known = {param.name: param for param in self.verb.params}
        positions: list[tuple[str, str, bool]] = []
        if self._entry.switch:
            positions.append((self._entry.switch, "boolean", False))
        for name in self._entry.args:
            param = known.get(name)
            if param is None:
                positions.append((name or "options", "any", False))
            else:
                positions.append((name, kind_of(param.type), param.required))
        return positions

    def _with_id_inside(self, params: list[Any]) -> Invocation:
        (name,) = self._entry.args
        arguments = _positional((name,), params)
        if name not in arguments:
            raise MissingArgument(argument=name)
        described = arguments[name]
        if not isinstance(described, dict):
            raise InvalidArgument(argument=name, reason="expected a struct")
        if described.get(self._entry.id_inside) is None:
            raise MissingArgument(argument=f"{name}.{self._entry.id_inside}")
        first = self.verb.params[0].name
        if first != name:
            arguments = {first: described[self._entry.id_inside], **arguments}
        return Invocation(self.verb, arguments)


class Methods:
    """Every method that can be called now; made anew when the verbs change."""

    def __init__(self, bridge: Bridge, marshaller: Marshaller) -> None:
        self._bridge = bridge
        self._marshaller = marshaller
        self._lock = threading.Lock()
        #: The verbs, and the methods that were made of them; replaced together.
        self._made: tuple[Mapping[str, Verb] | None, dict[str, Method]] = (None, {})

    def current(self) -> Mapping[str, Method]:
        """By name, canonical ones first, then VDSM's."""
        verbs = self._bridge.verbs
        made_of, methods = self._made
        if made_of is verbs:
            return methods
        with self._lock:
            if self._made[0] is not verbs:
                self._made = (verbs, self._make(verbs))
            return self._made[1]

    def _make(self, verbs: Mapping[str, Verb]) -> dict[str, Method]:
        methods: dict[str, Method] = {
            name: Canonical(name, verb, self._marshaller) for name, verb in verbs.items()
        }
        for name, entry in sorted(METHODS.items()):
            if entry.verb in verbs:
                other = verbs.get(entry.verb_if_true)
                methods[name] = Legacy(name, verbs[entry.verb], self._marshaller, entry, other)
        return methods


def _positional(names: tuple[str, ...] | list[str], params: list[Any]) -> dict[str, Any]:
    if len(params) > len(names):
        raise InvalidArgument(
            argument=f"#{len(names) + 1}",
            reason=f"{len(params)} arguments were given, at most {len(names)} are expected",
        )
    return _given(dict(zip(names, params, strict=False)))


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None and name != IGNORED}


def _truth(name: str, value: Any) -> bool:
    try:
        return value is not None and bool(convert(value, bool, text=True))
    except TypeMismatch as mismatch:
        raise InvalidArgument(argument=name, reason=mismatch.reason) from None
