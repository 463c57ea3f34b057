"""The vocabulary of types: records, annotated scalars, open dictionaries.

Types are the schema. A scalar's annotation carries its unit, its range, and its spelling in text protocols:
internally and in JSON, numbers are numbers; over XML-RPC, `memSize` of the capabilities is text, because VDSM
sent text (`string(uint)` and similar types of VDSM's API).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta

from vdsm_core.secret import NOT_KEPT, Secret
from vdsm_core.validation_messages import explain

#: Python's `$` also matches before a last line end; JSON Schema's dialect has no `\Z`, but a look-ahead.
UUID_PATTERN: Final = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$(?!\n)"
#: VDSM's blank id, which stands for no object.
BLANK_UUID: Final = "00000000-0000-0000-0000-000000000000"

#: Key in `Meta.extra`: how a text protocol spells the value. One of the `SPELL_*` values.
SPELLING: Final = "spelling"
SPELL_TEXT: Final = "text"  # numbers as decimal text, booleans as true/false
SPELL_TITLE: Final = "title"  # booleans as True/False
SPELL_2: Final = "%.2f"
SPELL_1: Final = "%.1f"

UUID = Annotated[
    str,
    Meta(
        pattern=UUID_PATTERN,
        description="UUID in its canonical text form, 8-4-4-4-12 hexadecimal digits.",
        extra_json_schema={"format": "uuid"},
    ),
]

TextInt = Annotated[int, Meta(extra={SPELLING: SPELL_TEXT})]
TextUint = Annotated[int, Meta(ge=0, extra={SPELLING: SPELL_TEXT})]
TextBool = Annotated[bool, Meta(extra={SPELLING: SPELL_TEXT})]
TitleBool = Annotated[bool, Meta(extra={SPELLING: SPELL_TITLE})]
#: A float that text protocols carry with two decimals (percentages, seconds of age).
Text2f = Annotated[float, Meta(extra={SPELLING: SPELL_2})]
#: A float that text protocols carry with one decimal (rates).
Text1f = Annotated[float, Meta(extra={SPELLING: SPELL_1})]

#: A memory size in MiB, as VDSM counts memory.
MiB = Annotated[int, Meta(ge=0, extra_json_schema={"x-unit": "MiB"})]
TextMiB = Annotated[int, Meta(ge=0, extra={SPELLING: SPELL_TEXT}, extra_json_schema={"x-unit": "MiB"})]
TextKiB = Annotated[int, Meta(ge=0, extra={SPELLING: SPELL_TEXT}, extra_json_schema={"x-unit": "KiB"})]
TextBytes = Annotated[int, Meta(ge=0, extra={SPELLING: SPELL_TEXT}, extra_json_schema={"x-unit": "B"})]
TextPercent = Annotated[float, Meta(ge=0, extra={SPELLING: SPELL_2}, extra_json_schema={"x-unit": "%"})]
Seconds = Annotated[float, Meta(ge=0, extra_json_schema={"x-unit": "s"})]
TextSeconds = Annotated[int, Meta(ge=0, extra={SPELLING: SPELL_TEXT}, extra_json_schema={"x-unit": "s"})]


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of results: immutable, named fields, wire names in camelCase.

    A member that may be absent has the default `msgspec.UNSET` and is left out of the encoding;
    `None` never stands for "absent", because XML-RPC has no null.
    """


class Request(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of structured arguments: like `Record`, but unknown members are refused."""


T = TypeVar("T")


#: Bounds on the members of an `Open` that are not known, since they are kept: how many, characters of a
#: name, bytes of one as JSON, bytes of all, levels of lists and dictionaries.
MAX_UNKNOWN: Final = 256
MAX_UNKNOWN_NAME: Final = 256
MAX_UNKNOWN_SIZE: Final = 65_536
MAX_UNKNOWN_TOTAL: Final = 131_072
MAX_UNKNOWN_DEPTH: Final = 32


class Open(Generic[T]):
    """A VDSM dictionary that keeps unknown members, within limits.

    Subclass it for use: ``class VMParams(Open[KnownVMParams]): ...``. `known` is the typed part, `unknown`
    the rest as received. On the wire it is one flat object.
    """

    __slots__ = ("known", "unknown")
    #: The type of `known`.
    inner: ClassVar[Any]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) is Open:
                (cls.inner,) = get_args(base)

    def __init__(self, known: T, unknown: dict[str, Any] | None = None) -> None:
        self.known = known
        self.unknown = unknown or {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Open) and (self.known, self.unknown) == (other.known, other.unknown)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.known!r}, {self.unknown!r})"


_PATH: Final = re.compile(r" - at `(?P<key>key` in `)?\$(?P<path>[^`]*)`")
_ABOUT_MEMBER: Final = re.compile(r"Object (?P<what>missing required|contains unknown) field `(?P<name>.*)`")
_NAMED_PATTERNS: Final = {UUID_PATTERN: "a UUID, 8-4-4-4-12 hexadecimal digits"}


class TypeMismatch(ValueError):
    """Data does not fit a type.

    `path` is dotted, and empty at the top. `kind` is "missing", "unknown" or "bad"; `reason` is one
    clause.
    """

    def __init__(self, path: str, reason: str, kind: Literal["missing", "unknown", "bad"] = "bad") -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason
        self.kind = kind


def convert(data: Any, type_: Any, *, text: bool = False) -> Any:
    """Make a `type_` of plain data (dicts, lists, scalars).

    :param text: the data comes from a text protocol: numbers and booleans may be spelled as text
    :raises TypeMismatch: naming the member that does not fit and what was expected
    """
    try:
        return msgspec.convert(data, type_, strict=not text, dec_hook=_text if text else _strict)
    except msgspec.ValidationError as error:
        raise _mismatch(str(error), type_) from None
    except UnicodeEncodeError:
        raise TypeMismatch("", "it contains a lone surrogate, which is not a character") from None


def _open_type(type_: Any, data: Any, *, text: bool) -> Any:
    if not (isinstance(type_, type) and issubclass(type_, Open)):
        raise NotImplementedError(f"no conversion to {type_}")
    if not isinstance(data, dict):
        # msgspec adds the path to a ValueError, as it does to its own errors
        kind = {list: "array", tuple: "array", type(None): "null"}.get(type(data), type(data).__name__)
        raise ValueError(f"Expected `object`, got `{kind}`")  # noqa: TRY004
    inner = type_.inner
    names = {field.encode_name for field in msgspec.structs.fields(inner)}
    known = {key: value for key, value in data.items() if key in names}
    unknown = {key: value for key, value in data.items() if key not in names}
    _check_unknown(unknown)
    hook = _text if text else _strict
    try:
        return type_(msgspec.convert(known, inner, strict=not text, dec_hook=hook), unknown)
    except msgspec.ValidationError as error:
        # Only a plain ValueError gets the path outside of this object appended.
        raise ValueError(str(error)) from None


def _check_unknown(unknown: dict[str, Any]) -> None:
    """Check the limits of unknown members.

    :raises ValueError: a limit is exceeded
    """
    if len(unknown) > MAX_UNKNOWN:
        raise ValueError(f"it has {len(unknown)} unknown members, at most {MAX_UNKNOWN} are kept")
    total = 0
    for name, value in unknown.items():
        shown = ascii(name[:40])
        if len(name) > MAX_UNKNOWN_NAME:
            raise ValueError(
                f"the name of unknown member {shown} has {len(name)} characters, "
                f"at most {MAX_UNKNOWN_NAME} are kept"
            )
        size = len(name) + _size(value, shown)
        total += size
        if size > MAX_UNKNOWN_SIZE:
            raise ValueError(
                f"unknown member {shown} is larger than the {MAX_UNKNOWN_SIZE} bytes that are kept"
            )
        if total > MAX_UNKNOWN_TOTAL:
            raise ValueError(
                f"its unknown members have more than the {MAX_UNKNOWN_TOTAL} bytes that are kept"
            )


def _size(value: Any, shown: str) -> int:
    """Return the bytes of plain data, about as JSON has them; counting stops above what is kept."""
    size, level, depth = 0, [value], 0
    while level:
        depth += 1
        if depth > MAX_UNKNOWN_DEPTH:
            raise ValueError(f"unknown member {shown} is nested more than {MAX_UNKNOWN_DEPTH} levels deep")
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                size += sum(_text_size(str(key)) + 2 for key in item)
                below += item.values()
            elif isinstance(item, list | tuple):
                below += item
            size += _text_size(item) if isinstance(item, str | bytes) else 2
            if isinstance(item, int):
                size += item.bit_length() // 3
            if size > MAX_UNKNOWN_SIZE:
                return size
        level = below
    return size


def _text_size(text: str | bytes) -> int:
    return (
        len(text) + 2
        if isinstance(text, bytes) or text.isascii()
        else 2 + sum(1 if c < "\x80" else 2 if c < "\u0800" else 3 if c < "\U00010000" else 4 for c in text)
    )


def _strict(type_: Any, data: Any) -> Any:
    return _own_type(type_, data, text=False)


def _text(type_: Any, data: Any) -> Any:
    return _own_type(type_, data, text=True)


def _own_type(type_: Any, data: Any, *, text: bool) -> Any:
    if isinstance(type_, type) and issubclass(type_, Secret):
        return type_.read(data)
    return _open_type(type_, data, text=text)


def _mismatch(message: str, type_: Any) -> TypeMismatch:
    # An `Open` inside an `Open` reports its own path first, and its position in the outer one last.
    places = list(reversed(list(_PATH.finditer(message))))
    path = "".join(place["path"] for place in places)
    message = _PATH.sub("", message)
    if member := _ABOUT_MEMBER.fullmatch(message):
        path = f"{path}.{member['name']}".lstrip(".")
        if member["what"] == "missing required":
            return TypeMismatch(path, "it is missing", "missing")
        return TypeMismatch(path, "it is not known", "unknown")
    reason = explain(message, path, type_, _NAMED_PATTERNS)
    if places and places[-1]["key"]:
        reason = f"one of its keys: {reason}"
    return TypeMismatch(path.lstrip("."), reason)


def builtins(value: Any) -> Any:
    """Return the plain data (dicts with wire names, lists, scalars) of any result."""
    return msgspec.to_builtins(value, enc_hook=_close)


_json = msgspec.json.Encoder(enc_hook=lambda value: _close(value))


def to_json(value: Any) -> bytes:
    """Return the JSON of any result, in UTF-8."""
    return _json.encode(value)


def _close(value: Any) -> Any:
    if isinstance(value, Open):
        return {**value.unknown, **builtins(value.known)}
    if isinstance(value, Secret):
        return NOT_KEPT
    raise NotImplementedError(f"cannot encode a {type(value).__name__}")
