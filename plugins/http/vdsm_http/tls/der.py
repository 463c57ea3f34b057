"""Elements of DER (ITU-T X.690), as far as certificates and revocation lists need them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

INTEGER: Final = 0x02
SEQUENCE: Final = 0x30
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
DATES: Final = frozenset({UTC_TIME, GENERALIZED_TIME})


def header(data: bytes) -> tuple[int, int]:
    """Return where the content of the first element begins, and where it ends.

    :raises IndexError: the data are cut short
    """
    length, begin = data[1], 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(data[2:begin], "big")
    if begin + length > len(data):
        raise IndexError
    return begin, begin + length


def content(data: bytes, tag: int) -> bytes:
    """Return the content of the first element.

    :raises IndexError: the data are cut short
    :raises ValueError: it has another tag
    """
    if data[0] != tag:
        raise ValueError(f"0x{data[0]:02x} stands where 0x{tag:02x} belongs")
    begin, end = header(data)
    return data[begin:end]


def first(data: bytes) -> bytes:
    """Return the first element, with its tag and length.

    :raises IndexError: the data are cut short
    """
    return data[: header(data)[1]]


def rest(data: bytes) -> bytes:
    """Return what follows the first element.

    :raises IndexError: the data are cut short
    """
    return data[header(data)[1] :]


def elements(data: bytes) -> Iterator[bytes]:
    """Yield the elements that follow each other.

    :raises IndexError: the data are cut short
    """
    at, view = 0, memoryview(data)
    while at < len(data):
        # The head of an element takes some bytes; only these are copied.
        length, begin = view[at + 1], at + 2
        if length & 0x80:
            begin += length & 0x7F
            length = int.from_bytes(view[at + 2 : begin], "big")
        end = begin + length
        if end > len(data):
            raise IndexError
        yield data[at:end]
        at = end


def date(data: bytes) -> datetime:
    """Return the date that is the first element.

    :raises IndexError: the data are cut short
    :raises ValueError: it is no date
    """
    if data[0] not in DATES:
        raise ValueError("it has no dates")
    text = content(data, data[0]).decode("ascii")
    if data[0] == UTC_TIME:
        # Two digits: 50 to 99 are of the twentieth century (RFC 5280, section 4.1.2.5.1).
        text = ("19" if text >= "5" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
