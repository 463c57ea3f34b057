"""The methods that can be called: each verb of the host by its full name and by its old ones."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, get_origin

import msgspec

from vdsm_bridge import Bridge, Kind, LegacyMethod, Verb
from vdsm_bridge.errors import InvalidArgument, MissingArgument, VdsmError
from vdsm_xmlrpc.kinds import kind_of
from vdsm_xmlrpc.marshal import Marshaller
from vdsm_xmlrpc.source import ARRAY, ARRAY_END

#: Member of a reply, beside `status`, with the result of a method that is called by its full name.
RESULT: Final = "result"
#: Member of a reply with the id of a task, in VDSM's place.
TASK: Final = "uuid"


class Method(ABC):
    """One method name: converts parameters to arguments, and the verb's result to members of the reply."""

    def __init__(self, name: str, verb: Verb, marshaller: Marshaller) -> None:
        self.name = name
        self.verb = verb
        self._marshaller = marshaller

    @abstractmethod
    def bind(self, params: list[Any]) -> dict[str, Any]:
        """Return the arguments of the verb by wire name.

        :raises InvalidArgument: there are too many parameters, or one cannot be taken apart
        :raises MissingArgument: the id of the object is absent
        """

    @abstractmethod
    def reply(self, result: Any) -> dict[str, list[bytes]]:
        """Return the encoded members beside `status`."""

    def code_of(self, error: VdsmError) -> int:
        """Return the code of the status of a call that has failed."""
        return error.code

    @property
    @abstractmethod
    def message(self) -> str:
        """The message of the status on success."""

    @property
    @abstractmethod
    def positions(self) -> list[tuple[str, str, bool]]:
        """The parameters by position: name, kind, and whether it is required."""


class Canonical(Method):
    """`VM.pause`: parameters in the declared order, or all by name in one struct.

    One struct as the only parameter is taken for named arguments, unless the verb's first parameter may
    itself be a struct; `by_name` is for those. A `nil` stands for an argument that is not given.
    """

    @property
    def takes_names(self) -> bool:
        """Whether a struct as the only parameter holds the arguments by name."""
        params = self.verb.params
        return not params or kind_of(params[0].type) not in ("struct", "any")

    def by_name(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of the verb from those of a struct."""
        return _given(arguments)

    def bind(self, params: list[Any]) -> dict[str, Any]:
        if len(params) == 1 and isinstance(params[0], dict) and self.takes_names:
            return self.by_name(params[0])
        declared = [param.name for param in self.verb.params]
        return _positional(declared, params)

    def reply(self, result: Any) -> dict[str, list[bytes]]:
        verb = self.verb
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
    """An old name of a verb, in the form that the verb declares for it."""

    def __init__(self, legacy: LegacyMethod, verb: Verb, marshaller: Marshaller) -> None:
        super().__init__(legacy.name, verb, marshaller)
        self._legacy = legacy
        self._args = legacy.args or ()

    def bind(self, params: list[Any]) -> dict[str, Any]:
        arguments = _positional(self._args, params)
        if not self._legacy.id_inside:
            return arguments
        (name,) = self._args
        id_ = self._id_inside(name, arguments)
        return {self.verb.keys[-1]: id_, **arguments} if self.verb.on_object else arguments

    def code_of(self, error: VdsmError) -> int:
        return self._legacy.code_of(error)

    def reply(self, result: Any) -> dict[str, list[bytes]]:
        legacy, verb = self._legacy, self.verb
        members = {name: [self._marshaller.any(value).encode()] for name, value in legacy.fixed.items()}
        if verb.kind is Kind.TASK:
            members[TASK] = [self._marshaller.any(result.task_id).encode()]
        elif legacy.reply and result is not None:
            value = self._marshaller.splitter(verb.reply)(result)
            if legacy.shape == "array" and get_origin(verb.reply) is not list:
                value = [ARRAY.encode(), *value, ARRAY_END.encode()]
            members[legacy.reply] = value
        for field in msgspec.structs.fields(verb.reply) if legacy.members else ():
            if field.encode_name in legacy.members:
                members[field.encode_name] = self._marshaller.splitter(field.type)(
                    getattr(result, field.name)
                )
        return members

    @property
    def message(self) -> str:
        return self._legacy.message or self.verb.declaration.done or "Done"

    @property
    def positions(self) -> list[tuple[str, str, bool]]:
        known = {param.name: param for param in self.verb.params}
        positions: list[tuple[str, str, bool]] = []
        for name in self._args:
            if name == LegacyMethod.IGNORED:
                positions.append(("options", "any", False))
            else:
                positions.append((name, kind_of(known[name].type), known[name].required))
        return positions

    def _id_inside(self, name: str, arguments: Mapping[str, Any]) -> Any:
        if name not in arguments:
            raise MissingArgument(argument=name)
        described = arguments[name]
        if not isinstance(described, dict):
            raise InvalidArgument(argument=name, reason="expected a struct")
        id_ = described.get(self._legacy.id_inside)
        if id_ is None:
            raise MissingArgument(argument=f"{name}.{self._legacy.id_inside}")
        return id_


class Methods:
    """Every method that can be called now; rebuilt when the verbs change."""

    def __init__(self, bridge: Bridge, marshaller: Marshaller) -> None:
        self._bridge = bridge
        self._marshaller = marshaller
        self._lock = threading.Lock()
        #: The verbs, and the methods that were built from them; replaced together.
        self._made: tuple[Mapping[str, Verb] | None, dict[str, Method]] = (None, {})

    def current(self) -> Mapping[str, Method]:
        """Return the methods by name."""
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
        for verb in verbs.values():
            for legacy in verb.legacy_methods:
                methods[legacy.name] = Legacy(legacy, verb, self._marshaller)
        return methods


def _positional(names: tuple[str, ...] | list[str], params: list[Any]) -> dict[str, Any]:
    if len(params) > len(names):
        raise InvalidArgument(
            argument=f"#{len(names) + 1}",
            reason=f"{len(params)} arguments were given, at most {len(names)} are expected",
        )
    return _given(dict(zip(names, params, strict=False)))


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in arguments.items() if value is not None and name != LegacyMethod.IGNORED
    }
