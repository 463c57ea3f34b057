"""Python pickles of plain data, as VDSM wrote its parameters to volumes, read without pickle.

Unpickling runs what the data say. This reader has the opcodes of plain data alone, of protocol 0 to 2: no
opcode that names a class, calls anything or reaches outside of the data. Numbers, text, lists, tuples and
dictionaries with text keys are all that comes out; anything else is refused.

The opcodes are documented in Python's `pickletools`.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any, Final

#: Bytes of one document.
MAX_BYTES: Final = 16 * 2**20
#: Values of one document, each counted as often as it is reached: shared ones can make it grow without end.
MAX_VALUES: Final = 200_000
#: Levels of lists and dictionaries.
MAX_DEPTH: Final = 64
#: Bytes of one integer.
_MAX_INTEGER: Final = 64
#: The protocol that VDSM writes.
PROTOCOL: Final = 2


class UnsafePickle(ValueError):
    """The data are no pickle of plain data."""


class _Mark:
    """The place on the stack where the members of a list or a dictionary begin."""


_MARK: Final = _Mark()


def encode(value: dict[str, Any]) -> bytes:
    """Return the pickle of plain data that VDSM reads."""
    return pickle.dumps(value, protocol=PROTOCOL)


def decode(data: bytes) -> Any:
    """Return the plain data of a pickle. What follows its end is ignored: volumes are padded.

    :raises UnsafePickle: it is malformed, too large or too deep, or has anything but plain data
    """
    if len(data) > MAX_BYTES:
        raise UnsafePickle(f"it has more than {MAX_BYTES} bytes")
    value = _Reader(data).read()
    _check(value)
    return value


class _Reader:
    """Reads one pickle."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self) -> Any:
        while True:
            code = self._take(1)
            if code == b".":
                value = self._pop()
                if self._stack:
                    raise UnsafePickle("more than one value is left at its end")
                return value
            act = _OPCODES.get(code)
            if act is None:
                raise UnsafePickle(f"the opcode {code!r} at {self._at - 1} is not one of plain data")
            getattr(self, f"_{act[0]}")(*act[1:])

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise UnsafePickle("it ends too early")
        self._at += size
        return taken

    def _line(self) -> bytes:
        end = self._data.find(b"\n", self._at)
        if end < 0:
            raise UnsafePickle("it ends too early")
        line = self._data[self._at : end]
        self._at = end + 1
        return line

    def _number(self, layout: str) -> int:
        (number,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        if number < 0:
            raise UnsafePickle("it has a negative size")
        return int(number)

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise UnsafePickle("its stack is empty")
        return self._stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        raise UnsafePickle("it has no mark")

    def _push(self, value: Any) -> None:
        if len(self._stack) >= MAX_VALUES:
            raise UnsafePickle(f"it has more than {MAX_VALUES} values")
        self._stack.append(value)

    # The opcodes.

    def _proto(self) -> None:
        version = self._take(1)[0]
        if version > PROTOCOL:
            raise UnsafePickle(f"it is of protocol {version}, at most {PROTOCOL} is read")

    def _mark(self) -> None:
        self._push(_MARK)

    def _drop(self) -> None:
        if not self._stack:
            raise UnsafePickle("its stack is empty")
        self._stack.pop()

    def _drop_to_mark(self) -> None:
        self._pop_to_mark()

    def _constant(self, value: Any) -> None:
        self._push(value)

    def _integer(self, layout: str) -> None:
        self._push(struct.unpack(layout, self._take(struct.calcsize(layout)))[0])

    def _long(self, layout: str) -> None:
        size = self._number(layout)
        if size > _MAX_INTEGER:
            raise UnsafePickle(f"it has an integer of {size} bytes")
        self._push(int.from_bytes(self._take(size), "little", signed=True))

    def _integer_line(self) -> None:
        line = self._line()
        if line in (b"00", b"01"):
            self._push(line == b"01")
            return
        self._push(_integer(line.removesuffix(b"L")))

    def _float(self) -> None:
        self._push(struct.unpack(">d", self._take(8))[0])

    def _float_line(self) -> None:
        try:
            self._push(float(self._line()))
        except ValueError:
            raise UnsafePickle("it has a malformed number") from None

    def _sized_text(self, layout: str) -> None:
        self._push(_text(self._take(self._number(layout))))

    def _text_line(self) -> None:
        try:
            self._push(self._line().decode("raw-unicode-escape"))
        except UnicodeDecodeError:
            raise UnsafePickle("it has malformed text") from None

    def _new(self, kind: Callable[[], Any]) -> None:
        self._push(kind())

    def _tuple(self, size: int) -> None:
        items = [self._pop() for _ in range(size)]
        self._push(tuple(reversed(items)))

    def _tuple_from_mark(self) -> None:
        self._push(tuple(self._pop_to_mark()))

    def _list_from_mark(self) -> None:
        self._push(self._pop_to_mark())

    def _dict_from_mark(self) -> None:
        items = self._pop_to_mark()
        made: dict[str, Any] = {}
        _put(made, items)
        self._push(made)

    def _append(self) -> None:
        value = self._pop()
        self._top(list).append(value)

    def _appends(self) -> None:
        values = self._pop_to_mark()
        self._top(list).extend(values)

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        _put(self._top(dict), [key, value])

    def _set_items(self) -> None:
        items = self._pop_to_mark()
        _put(self._top(dict), items)

    def _top(self, kind: type) -> Any:
        if not self._stack or type(self._stack[-1]) is not kind:
            raise UnsafePickle(f"it adds to what is no {kind.__name__}")
        return self._stack[-1]

    def _put(self, layout: str) -> None:
        self._remember(self._number(layout))

    def _put_line(self) -> None:
        self._remember(_integer(self._line()))

    def _remember(self, index: int) -> None:
        if not self._stack or self._stack[-1] is _MARK:
            raise UnsafePickle("its stack is empty")
        self._memo[index] = self._stack[-1]

    def _get(self, layout: str) -> None:
        self._recall(self._number(layout))

    def _get_line(self) -> None:
        self._recall(_integer(self._line()))

    def _recall(self, index: int) -> None:
        if index not in self._memo:
            raise UnsafePickle(f"it refers to the value {index}, which it does not have")
        self._push(self._memo[index])


#: The method of `_Reader` for each opcode, without its underscore, and its argument if it has one.
_OPCODES: Final[dict[bytes, tuple[Any, ...]]] = {
    b"\x80": ("proto",),
    b"(": ("mark",),
    b"0": ("drop",),
    b"1": ("drop_to_mark",),
    b"N": ("constant", None),
    b"\x88": ("constant", True),
    b"\x89": ("constant", False),
    b"J": ("integer", "<i"),
    b"K": ("integer", "<B"),
    b"M": ("integer", "<H"),
    b"\x8a": ("long", "<B"),
    b"\x8b": ("long", "<i"),
    b"I": ("integer_line",),
    b"L": ("integer_line",),
    b"G": ("float",),
    b"F": ("float_line",),
    b"U": ("sized_text", "<B"),
    b"T": ("sized_text", "<i"),
    b"X": ("sized_text", "<I"),
    b"V": ("text_line",),
    b"]": ("new", list),
    b"}": ("new", dict),
    b")": ("new", tuple),
    b"\x85": ("tuple", 1),
    b"\x86": ("tuple", 2),
    b"\x87": ("tuple", 3),
    b"t": ("tuple_from_mark",),
    b"l": ("list_from_mark",),
    b"d": ("dict_from_mark",),
    b"a": ("append",),
    b"e": ("appends",),
    b"s": ("set_item",),
    b"u": ("set_items",),
    b"q": ("put", "<B"),
    b"r": ("put", "<I"),
    b"p": ("put_line",),
    b"h": ("get", "<B"),
    b"j": ("get", "<I"),
    b"g": ("get_line",),
}


def _put(target: dict[str, Any], items: list[Any]) -> None:
    if len(items) % 2:
        raise UnsafePickle("it has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str):
            raise UnsafePickle("it has a key that is no text")
        target[key] = value


def _text(data: bytes) -> str:
    try:
        # Python 2 wrote text of its own as bytes.
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise UnsafePickle("it has bytes that are no text") from None


def _integer(line: bytes) -> int:
    if len(line) > _MAX_INTEGER or not line.removeprefix(b"-").isdigit():
        raise UnsafePickle("it has a malformed integer")
    return int(line)


def _check(value: Any) -> None:
    """Refuse a value that contains itself, or that is too deep or too large when it is walked through."""
    count = 0
    level = [value]
    for _ in range(MAX_DEPTH):
        count += len(level)
        if count > MAX_VALUES:
            raise UnsafePickle(f"it has more than {MAX_VALUES} values")
        following: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                following.extend(item.values())
            elif isinstance(item, list | tuple):
                following.extend(item)
            if len(following) > MAX_VALUES:
                raise UnsafePickle(f"it has more than {MAX_VALUES} values")
        if not following:
            return
        level = following
    raise UnsafePickle(f"its values are nested more than {MAX_DEPTH} levels deep")
