"""Key presses by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vdsm_core.errors import InvalidArgument

#: Linux key codes (linux/input-event-codes.h), by the names there without `KEY_`.
_CODES: Final[dict[str, int]] = {
    "esc": 1, "minus": 12, "equal": 13, "backspace": 14, "tab": 15, "leftbrace": 26, "rightbrace": 27,
    "enter": 28, "leftctrl": 29, "semicolon": 39, "apostrophe": 40, "grave": 41, "leftshift": 42,
    "backslash": 43, "comma": 51, "dot": 52, "slash": 53, "rightshift": 54, "kpasterisk": 55, "leftalt": 56,
    "space": 57, "capslock": 58, "numlock": 69, "scrolllock": 70, "f11": 87, "f12": 88, "kpenter": 96,
    "rightctrl": 97, "sysrq": 99, "rightalt": 100, "home": 102, "up": 103, "pageup": 104, "left": 105,
    "right": 106, "end": 107, "down": 108, "pagedown": 109, "insert": 110, "delete": 111, "pause": 119,
    "leftmeta": 125, "rightmeta": 126, "compose": 127,
    **{letter: 16 + place for place, letter in enumerate("qwertyuiop")},
    **{letter: 30 + place for place, letter in enumerate("asdfghjkl")},
    **{letter: 44 + place for place, letter in enumerate("zxcvbnm")},
    **{digit: 2 + place for place, digit in enumerate("1234567890")},
    **{f"f{number}": 58 + number for number in range(1, 11)},
}  # fmt: skip
_SHORT: Final = {
    "ctrl": "leftctrl",
    "shift": "leftshift",
    "alt": "leftalt",
    "meta": "leftmeta",
    "escape": "esc",
    "return": "enter",
    "del": "delete",
    "ins": "insert",
    "print": "sysrq",
}
#: Keys that libvirt presses together at the most (VIR_DOMAIN_SEND_KEY_MAX_KEYS).
_MAX_TOGETHER: Final = 16
#: Presses of one call at the most.
MAX_PRESSES: Final = 256


def presses(sequence: str) -> Iterator[list[int]]:
    """Return the key codes of each press of a sequence, such as `ctrl+alt+f2 r o o t enter`.

    :param sequence: presses separated by spaces; keys that are pressed together are joined by `+`
    :raises InvalidArgument: a key is not known, or there are too many
    """
    words = sequence.lower().split()
    if not 0 < len(words) <= MAX_PRESSES:
        raise InvalidArgument(
            argument="keySequence", reason=f"expected 1 to {MAX_PRESSES} presses, got {len(words)}"
        )
    found = [[_code(name) for name in word.split("+")] for word in words]
    if any(len(keys) > _MAX_TOGETHER for keys in found):
        reason = f"at most {_MAX_TOGETHER} keys are pressed together"
        raise InvalidArgument(argument="keySequence", reason=reason)
    return iter(found)


def _code(name: str) -> int:
    name = name.removeprefix("key_")
    code = _CODES.get(_SHORT.get(name, name))
    if code is None:
        raise InvalidArgument(argument="keySequence", reason=f"there is no key '{name[:40]}'")
    return code
