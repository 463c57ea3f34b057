"""Declarations of privileged operations."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    ParamSpec,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from vdsm_core.errors import InvalidArgument, VdsmError
from vdsm_core.privileged.arguments import (
    NAME_PATTERN,
    PATH_PATTERN,
    Entry,
    Located,
    Opened,
    RelativePath,
    Within,
)
from vdsm_core.privileged.capabilities import mask_of
from vdsm_core.privileged.schema import objections
from vdsm_core.validation_messages import explain

P = ParamSpec("P")
R = TypeVar("R")
_own_table: ContextVar[Mapping[str, Any]] = ContextVar("own_table", default={})  # noqa: B039 - never changed
_NAME: Final = re.compile(r"\A[a-z][a-z0-9_]{0,63}\Z")
#: Seconds that an operation may declare at the most: an hour.
_MAX_DEADLINE: Final = 3_600.0
_NAMED_PATTERNS: Final = {
    NAME_PATTERN: "a name without separators, that begins with a letter, a digit or _",
    PATH_PATTERN: "a relative path without '.', '..', control characters and leading dashes",
}


class PathParameter(msgspec.Struct, frozen=True):
    """A parameter that is a path: its type in the function, and where it lies."""

    type: type[Located]
    within: Within


class Operation(Generic[P, R]):
    """A function that the helper runs for the daemon, with all that is declared of it.

    Attributes: `name`, `function`, `summary`, `deadline` (seconds), `capabilities` (names), `idempotent`,
    `raises` (errors by slug that reach the caller as they are), `paths` (path parameters by name).
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        deadline: float,
        capabilities: tuple[str, ...],
        idempotent: bool,
        raises: tuple[type[VdsmError], ...],
    ) -> None:
        self.function = function
        self.name = function.__name__
        self.summary = (inspect.getdoc(function) or "").partition("\n")[0]
        self.deadline = deadline
        self.capabilities = capabilities
        self.idempotent = idempotent
        self.raises: Mapping[str, type[VdsmError]] = {error.slug: error for error in raises}
        self.capability_mask = mask_of(capabilities)
        hints = get_type_hints(function, include_extras=True)
        result: Any = hints.pop("return", None)
        self.paths = {name: path for name, hint in hints.items() if (path := _path_of(hint)) is not None}
        self._signature = inspect.signature(function)
        if wrong := _objections(self, hints):
            raise TypeError(f"operation {self.name}: {'; '.join(wrong)}")
        self.arguments_type = _struct(self, hints)
        self._encoder = msgspec.msgpack.Encoder()
        self._arguments = msgspec.msgpack.Decoder(self.arguments_type)
        self._result: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(result)

    def __repr__(self) -> str:
        return f"<operation {self.name}>"

    def pack(self, *args: P.args, **kwargs: P.kwargs) -> bytes:
        """Encode the arguments of a call.

        :raises InvalidArgument: they cannot be encoded; types and ranges are checked by the helper
        :raises TypeError: they do not fit the function's parameters
        """
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = [_plain(value) for value in bound.arguments.values()]
        try:
            return self._encoder.encode(values)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            # A lone surrogate, an integer of more than 64 bits, an object of no known type.
            raise InvalidArgument(argument=self.name, reason=f"it cannot be encoded ({error})") from None

    def unpack(self, data: bytes) -> dict[str, Any]:
        """Decode and check the arguments of a call, by name. Path parameters are not resolved yet.

        :raises InvalidArgument: an argument is missing, unknown, ill-typed or out of range
        """
        try:
            checked = self._arguments.decode(data)
        except msgspec.ValidationError as error:
            message, _, place = str(error).partition(" - at `$")
            reason = explain(message, place.rstrip("`"), self.arguments_type, _NAMED_PATTERNS)
            raise InvalidArgument(argument=self._named(place), reason=reason) from None
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise InvalidArgument(argument=self.name, reason=f"it cannot be decoded ({error})") from None
        values = {name: getattr(checked, name) for name in self._signature.parameters}
        return values | {name: path.type(values[name]) for name, path in self.paths.items()}

    def _named(self, place: str) -> str:
        """The parameter that a place such as `[1].mode` is in."""
        match = re.match(r"\[(\d+)\]", place)
        names = list(self._signature.parameters)
        return names[int(match[1])] if match and int(match[1]) < len(names) else self.name

    def pack_result(self, result: R) -> bytes:
        """Encode a result."""
        return self._encoder.encode(result)

    def unpack_result(self, data: bytes) -> R:
        """Decode and check a result.

        :raises msgspec.DecodeError: it is not of the declared type
        """
        return cast("R", self._result.decode(data))


def operation(
    *,
    deadline: float,
    capabilities: tuple[str, ...] = (),
    idempotent: bool = False,
    raises: tuple[type[VdsmError], ...] = (),
) -> Callable[[Callable[P, R]], Operation[P, R]]:
    """Declare a function as a privileged operation. Its full name is that of its plugin, a dot, and its own.

    :param deadline: seconds that it may take
    :param capabilities: those that the thread which runs it holds, as `CAP_CHOWN`; it runs as root without
        any other
    :param idempotent: doing it twice is as good as doing it once: it is repeated if the helper ends meanwhile
    :param raises: errors that reach the caller with their class and facts
    :raises TypeError: a parameter's type cannot be checked completely, or the declaration is not acceptable
    """

    def declare(function: Callable[P, R]) -> Operation[P, R]:
        return Operation(
            function, deadline=deadline, capabilities=capabilities, idempotent=idempotent, raises=raises
        )

    return declare


def own_table() -> Mapping[str, Any]:
    """Return the table of options of the plugin whose operation runs, from the helper's own configuration.

    It is what the configuration was when the helper was started, `[plugin.NAME]` as it stands there: options
    that are not set are absent. Empty outside of the helper.
    """
    return _own_table.get()


@contextmanager
def with_table(table: Mapping[str, Any]) -> Iterator[None]:
    """Let `own_table` return a table within the block."""
    token = _own_table.set(table)
    try:
        yield
    finally:
        _own_table.reset(token)


def operations_of(module: object) -> list[Operation[..., Any]]:
    """The operations that a module or object holds as attributes, by name."""
    found = {id(value): value for value in vars(module).values() if isinstance(value, Operation)}
    return sorted(found.values(), key=lambda each: each.name)


def _objections(of: Operation[..., Any], hints: Mapping[str, Any]) -> list[str]:
    found = [] if _NAME.match(of.name) else ["its name is not one of lower-case letters, digits and _"]
    if not of.summary:
        found.append("it has no docstring")
    if not 0 < of.deadline <= _MAX_DEADLINE:
        found.append(f"its deadline is not between 0 and {_MAX_DEADLINE:g} s")
    for name, parameter in of._signature.parameters.items():  # noqa: SLF001 - the other half of the class
        if parameter.kind in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL, parameter.KEYWORD_ONLY}:
            found.append(f"{name}: parameters are passed by position")
        elif name not in hints:
            found.append(f"{name}: it has no type")
        elif name not in of.paths:
            found += [f"{name}: {objection}" for objection in _argument_objections(hints[name])]
    return found


def _argument_objections(hint: Any) -> list[str]:
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if isinstance(bare, type) and issubclass(bare, Located):
        return ["a path needs the annotation Within(root)"]
    return objections(hint)


def _path_of(hint: Any) -> PathParameter | None:
    if get_origin(hint) is not Annotated:
        return None
    bare, *notes = get_args(hint)
    within = next((note for note in notes if isinstance(note, Within)), None)
    return PathParameter(bare, within) if bare in {Entry, Opened} and within is not None else None


def _struct(of: Operation[..., Any], hints: Mapping[str, Any]) -> type[msgspec.Struct]:
    """The arguments as they travel: an array in the order of the parameters."""
    names = of._signature.parameters  # noqa: SLF001 - as above
    fields: list[Any] = [(name, RelativePath if name in of.paths else hints[name]) for name in names]
    return msgspec.defstruct(
        f"{of.name}_arguments", fields, array_like=True, forbid_unknown_fields=True, frozen=True
    )


def _plain(value: Any) -> Any:
    return value.path if isinstance(value, Located) else value
