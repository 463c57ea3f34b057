"""Types of arguments that VDSM's clients send as numbers or as text, and their conversion.

VDSM's schema has `string(uint)` where an engine sends `"2"` and a script sends `2`; every binding accepts
both.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

from msgspec import Meta, UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_core.validation_messages import WORDS


def patterned(pattern: str, words: str, *, minimum: int | None = None, maximum: int | None = None) -> Meta:
    """Return a constraint on text: a regular expression, in which a final `$` is the end of the text.

    :param words: description for error messages, after "expected"
    :param minimum: minimum number of characters
    :param maximum: maximum number of characters
    """
    if pattern.endswith("$"):
        # `$` alone also matches before a final line end.
        pattern += r"(?!\n)"
    return Meta(pattern=pattern, min_length=minimum, max_length=maximum, extra={WORDS: words})


#: A whole number, or its decimal text.
LooseInt = (
    Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
    | Annotated[str, patterned(r"^-?[0-9]{1,18}$", "a whole number", maximum=19)]
)
#: A whole number from 0, or its decimal text.
LooseUint = (
    Annotated[int, Meta(ge=0, le=2**63 - 1)]
    | Annotated[str, patterned(r"^[0-9]{1,18}$", "a whole number of at least 0", maximum=18)]
)
#: A boolean, or its text.
LooseBool = bool | Literal["true", "false", "True", "False", "TRUE", "FALSE"]
#: A character that XML allows, other than control characters.
_CLEAN: Final = r"[^\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]"
#: Text whose characters are all valid in libvirt's XML and in a log.
Word = Annotated[str, patterned(rf"^{_CLEAN}*$", "one line of text", maximum=4096)]
#: Text of any characters, of one or more lines.
Prose = Annotated[str, patterned(r"^[^\ud800-\udfff]*$", "text without lone surrogates", maximum=65_536)]
#: A `Word` that is not empty.
Filled = Annotated[str, patterned(rf"^{_CLEAN}+$", "one line of text that is not empty", maximum=256)]
#: The name of a channel, from which libvirt derives the file name of a socket.
SocketName = Annotated[
    str,
    patterned(
        r"^(?!\.{1,2}$)[^/\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]+$",
        "one line of text without slashes, and neither '.' nor '..'",
        maximum=64,
    ),
]
#: A path on this host.
AbsolutePath = Annotated[str, patterned(rf"^/{_CLEAN}*$", "an absolute path", maximum=4096)]
#: An absolute path, or an empty string.
OptionalPath = Annotated[str, patterned(rf"^(/{_CLEAN}*)?$", "an absolute path, or nothing", maximum=4096)]
#: The name of a keyboard layout, or an empty string.
KeyMap = Annotated[
    str, patterned(r"^[a-z0-9_-]*$", "the name of a keyboard layout, such as en-us", maximum=32)
]

T = TypeVar("T")

#: Maximum number of processors; the limit of every QEMU machine type is lower.
MAX_CPUS: Final = 4096


def given(value: T | UnsetType, otherwise: T) -> T:
    """Return the value, or `otherwise` if the member is absent."""
    return otherwise if isinstance(value, UnsetType) else value


def truth(value: LooseBool | UnsetType, otherwise: bool) -> bool:
    """Return a boolean from either of its spellings."""
    if isinstance(value, UnsetType):
        return otherwise
    return value if isinstance(value, bool) else value.lower() == "true"


def whole(
    value: LooseInt | UnsetType, argument: str, otherwise: int, *, minimum: int = 0, maximum: int = 2**63 - 1
) -> int:
    """Return a whole number from either of its spellings.

    :raises InvalidArgument: it is out of range
    """
    if isinstance(value, UnsetType):
        return otherwise
    number = int(value)
    if not minimum <= number <= maximum:
        raise InvalidArgument(
            argument=argument, reason=f"expected a whole number from {minimum} to {maximum}, got {number}"
        )
    return number
