"""Regular expressions of predicates, matched by RE2 in a time that is linear in the text.

Any client of the bus can send such a pattern. Python's own engine backtracks: `(a|a)*b` takes it a time
exponential in the length of the text, and no other thread of the process runs meanwhile. What RE2 cannot
match in linear time (references to groups, look-around) it refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import re2

#: Bytes that one compiled pattern may take; RE2 keeps the 128 patterns that were used last.
_MEMORY: Final = 256 * 1024


class BadPattern(ValueError):
    """The pattern is no regular expression, is one that RE2 does not support, or needs too much memory."""


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Return a function that checks whether the pattern is found anywhere in a text.

    :raises BadPattern: the pattern cannot be used
    """
    options = re2.Options()
    options.max_mem = _MEMORY
    options.never_capture = True
    options.log_errors = False  # they are raised
    try:
        compiled = re2.compile(_utf8(pattern), options)
    except re2.error as error:
        raise BadPattern(error.args[0].decode("utf-8", "replace")) from None
    return lambda text: compiled.search(_utf8(text)) is not None


def _utf8(text: str) -> bytes:
    # JSON lets lone surrogates pass, which have no UTF-8.
    return text.encode("utf-8", "replace")
