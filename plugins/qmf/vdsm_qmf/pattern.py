"""Regular expressions from outside, matched in a time that grows with pattern times text, whatever they are.

Python's own engine tries one way after the other: `(a|a)*b` holds it for ages over forty letters, and with it
every thread of the process. This one follows all ways at once, and knows what can be matched like that:
literals, `.`, `[...]`, `\\d \\w \\s` and their opposites, `^`, `$`, groups, `|`, `*`, `+`, `?`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

Test = Callable[[str], bool]

#: Groups inside each other.
_DEPTH: Final = 20
_CLASSES: Final[dict[str, Test]] = {
    "d": str.isdecimal,
    "w": lambda letter: letter.isalnum() or letter == "_",
    "s": str.isspace,
}
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


class BadPattern(ValueError):
    """It is no regular expression, or one that this engine does not know."""


class _Step(NamedTuple):
    """A step of the program: a letter that passes a test, a place in the text, or a fork (or jump)."""

    test: Test | None = None
    place: str = ""
    ways: tuple[int, ...] = ()


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A function that tells whether the pattern is found anywhere in a text.

    :raises BadPattern: see there
    """
    steps = _Parser(pattern).program()
    return lambda text: _found(steps, text)


def _found(steps: list[_Step], text: str) -> bool:
    last = len(steps)
    now: set[int] = set()
    for at in range(len(text) + 1):
        now = _closure(steps, [*now, 0], at, len(text))
        if last in now:
            return True
        if at == len(text):
            break
        letter = text[at]
        now = {number + 1 for number in now if (test := steps[number].test) is not None and test(letter)}
    return False


def _closure(steps: list[_Step], numbers: list[int], at: int, length: int) -> set[int]:
    """Every step that is reached without another letter."""
    seen: set[int] = set()
    while numbers:
        number = numbers.pop()
        if number in seen:
            continue
        seen.add(number)
        if number == len(steps):
            continue
        step = steps[number]
        if step.ways:
            numbers += [number + way for way in step.ways]
        elif step.place and at == (0 if step.place == "^" else length):
            numbers.append(number + 1)
    return seen


class _Parser:
    """Makes steps of a pattern. Ways are relative, so that parts can be put together as they are."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def program(self) -> list[_Step]:
        steps = self._choice(_DEPTH)
        if self._at < len(self._pattern):
            raise BadPattern("a ')' is too many")
        return steps

    def _next(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        letter = self._next()
        if not letter:
            raise BadPattern("it ends too early")
        self._at += 1
        return letter

    def _choice(self, depth: int) -> list[_Step]:
        if not depth:
            raise BadPattern(f"it has groups inside each other deeper than {_DEPTH}")
        steps = self._sequence(depth)
        while self._next() == "|":
            self._at += 1
            other = self._sequence(depth)
            steps = [
                _Step(ways=(1, len(steps) + 2)),
                *steps,
                _Step(ways=(len(other) + 1,)),
                *other,
            ]
        return steps

    def _sequence(self, depth: int) -> list[_Step]:
        steps: list[_Step] = []
        while self._next() not in ("", "|", ")"):
            steps += self._repeated(self._item(depth))
        return steps

    def _repeated(self, steps: list[_Step]) -> list[_Step]:
        size = len(steps)
        sign = self._next()
        if sign == "{":
            raise BadPattern("counts in braces are not known here")
        if sign not in ("*", "+", "?"):
            return steps
        self._at += 1
        if self._next() == "?":
            # Whether it takes as few as it can does not change what is found.
            self._at += 1
        if self._next() in ("*", "+", "{"):
            raise BadPattern("a repetition is repeated")
        if sign == "?":
            return [_Step(ways=(1, size + 1)), *steps]
        again = [*steps, _Step(ways=(-size, 1))]
        return again if sign == "+" else [_Step(ways=(1, size + 2)), *again]

    def _item(self, depth: int) -> list[_Step]:
        letter = self._take()
        if letter == "(":
            return self._group(depth)
        if letter in ("^", "$"):
            return [_Step(place=letter)]
        if letter in ("*", "+", "?"):
            raise BadPattern("a repetition has nothing before it")
        if letter == ".":
            return [_Step(test=lambda one: one != "\n")]
        if letter == "[":
            return [_Step(test=self._set())]
        if letter == "\\":
            return [_Step(test=self._escape())]
        return [_Step(test=letter.__eq__)]

    def _group(self, depth: int) -> list[_Step]:
        if self._next() == "?":
            if self._pattern[self._at : self._at + 2] != "?:":
                raise BadPattern("groups with '(?' are not known here")
            self._at += 2
        steps = self._choice(depth - 1)
        if self._next() != ")":
            raise BadPattern("a group is not closed")
        self._at += 1
        return steps

    def _escape(self) -> Test:
        letter = self._take()
        known = _CLASSES.get(letter.lower())
        if known is not None:
            return known if letter.islower() else lambda one: not known(one)
        return self._literal(letter).__eq__

    @staticmethod
    def _literal(letter: str) -> str:
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        if letter.isalnum():
            raise BadPattern(f"\\{letter} is not known here")
        return letter

    def _set(self) -> Test:
        opposite = self._next() == "^"
        self._at += opposite
        tests: list[Test] = []
        while self._next() != "]" or not tests:
            tests.append(self._member())
        self._at += 1
        return lambda one: any(test(one) for test in tests) != opposite

    def _member(self) -> Test:
        low = self._take()
        if low == "\\":
            if self._next().lower() in _CLASSES:
                return self._escape()
            low = self._literal(self._take())
        if self._next() != "-" or self._pattern[self._at + 1 : self._at + 2] in ("", "]"):
            return low.__eq__
        self._at += 1
        high = self._take()
        high = self._literal(self._take()) if high == "\\" else high
        if high < low:
            raise BadPattern(f"{low}-{high} is no range")
        return lambda one: low <= one <= high
