"""Arguments that VDSM's clients spell as numbers or as text, and how they become values.

VDSM's schema has `string(uint)` where an engine sends `"2"` and a script sends `2`; both are taken, over
every binding.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

from msgspec import Meta, UnsetType

from vdsm_core.errors import InvalidArgument

#: A whole number, or its decimal text.
LooseInt = (
    Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
    | Annotated[str, Meta(pattern=r"^-?[0-9]{1,18}$", max_length=19)]
)
#: A whole number from 0, or its decimal text.
LooseUint = (
    Annotated[int, Meta(ge=0, le=2**63 - 1)] | Annotated[str, Meta(pattern=r"^[0-9]{1,18}$", max_length=18)]
)
#: A truth value, or its text.
LooseBool = bool | Literal["true", "false", "True", "False", "TRUE", "FALSE"]
#: Characters that XML has, without control characters.
_CLEAN: Final = r"[^\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]"
#: Text of which libvirt's XML and a log can hold every character.
Word = Annotated[str, Meta(max_length=4096, pattern=rf"^{_CLEAN}*$")]
#: Text of any characters, over many lines if need be.
Prose = Annotated[str, Meta(max_length=65_536, pattern=r"^[^\ud800-\udfff]*$")]
#: A `Word` with something in it.
Filled = Annotated[str, Meta(max_length=256, pattern=rf"^{_CLEAN}+$")]
#: A path of this host's.
AbsolutePath = Annotated[str, Meta(max_length=4096, pattern=rf"^/{_CLEAN}*$")]
#: The same, or nothing.
OptionalPath = Annotated[str, Meta(max_length=4096, pattern=rf"^(/{_CLEAN}*)?$")]
#: The name of a keyboard layout, or nothing.
KeyMap = Annotated[str, Meta(max_length=32, pattern=r"^[a-z0-9_-]*$")]

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
            argument=argument, reason=f"Expected `int` from {least} to {most}, got {number}"
        )
    return number
