"""Arguments that VDSM's clients spell as numbers or as text, and how they become values.

VDSM's schema has `string(uint)` where an engine sends `"2"` and a script sends `2`; both are taken, over
every binding.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

from msgspec import Meta, UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_core.wording import WORDS


def patterned(pattern: str, words: str, *, least: int | None = None, most: int | None = None) -> Meta:
    """Return the constraint on text: a regular expression, in which a final `$` is the end of the text.

    :param words: the same for people: "expected ..."
    :param least: characters
    :param most: characters
    """
    if pattern.endswith("$"):
        # `$` alone also matches before a final line end.
        pattern += r"(?!\n)"
    return Meta(pattern=pattern, min_length=least, max_length=most, extra={WORDS: words})


#: A whole number, or its decimal text.
LooseInt = (
    Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
    | Annotated[str, patterned(r"^-?[0-9]{1,18}$", "a whole number", most=19)]
)
#: A whole number from 0, or its decimal text.
LooseUint = (
    Annotated[int, Meta(ge=0, le=2**63 - 1)]
    | Annotated[str, patterned(r"^[0-9]{1,18}$", "a whole number of at least 0", most=18)]
)
#: A truth value, or its text.
LooseBool = bool | Literal["true", "false", "True", "False", "TRUE", "FALSE"]
#: Characters that XML has, without control characters.
_CLEAN: Final = r"[^\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]"
#: Text of which libvirt's XML and a log can hold every character.
Word = Annotated[str, patterned(rf"^{_CLEAN}*$", "one line of text", most=4096)]
#: Text of any characters, over many lines if need be.
Prose = Annotated[str, patterned(r"^[^\ud800-\udfff]*$", "text without lone surrogates", most=65_536)]
#: A `Word` with something in it.
Filled = Annotated[str, patterned(rf"^{_CLEAN}+$", "one line of text that is not empty", most=256)]
#: The name of a channel, of which libvirt makes the file name of a socket.
SocketName = Annotated[
    str,
    patterned(
        r"^(?!\.{1,2}$)[^/\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]+$",
        "one line of text without slashes, and neither '.' nor '..'",
        most=64,
    ),
]
#: A path of this host's.
AbsolutePath = Annotated[str, patterned(rf"^/{_CLEAN}*$", "an absolute path", most=4096)]
#: The same, or nothing.
OptionalPath = Annotated[str, patterned(rf"^(/{_CLEAN}*)?$", "an absolute path, or nothing", most=4096)]
#: The name of a keyboard layout, or nothing.
KeyMap = Annotated[str, patterned(r"^[a-z0-9_-]*$", "the name of a keyboard layout, such as en-us", most=32)]

T = TypeVar("T")

#: What is reasonable for counts of processors: QEMU's own limit is lower on every machine type.
MOST_CPUS: Final = 4096


def given(value: T | UnsetType, otherwise: T) -> T:
    """The value, or the other one where the member was absent."""
    return otherwise if isinstance(value, UnsetType) else value


def truth(value: LooseBool | UnsetType, otherwise: bool) -> bool:
    """A truth value from either of its spellings."""
    if isinstance(value, UnsetType):
        return otherwise
    return value if isinstance(value, bool) else value.lower() == "true"


def whole(
    value: LooseInt | UnsetType, argument: str, otherwise: int, *, least: int = 0, most: int = 2**63 - 1
) -> int:
    """A whole number from either of its spellings.

    :raises InvalidArgument: it is out of range
    """
    if isinstance(value, UnsetType):
        return otherwise
    number = int(value)
    if not least <= number <= most:
        raise InvalidArgument(
            argument=argument, reason=f"expected a whole number from {least} to {most}, got {number}"
        )
    return number
