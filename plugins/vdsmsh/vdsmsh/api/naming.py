"""Names of the API in the spelling of the command line."""

from __future__ import annotations

import re
from typing import Final

#: Plural of an acronym (`UUIDs`), acronym before a word (`VM` of `VMList`), word, acronym at the end.
_WORD: Final = re.compile(r"[A-Z]{2,}s(?![a-z])|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+[0-9]*")
_GET: Final = re.compile(r"get(?=[A-Z])")


def kebab(name: str) -> str:
    """Return a name in lower case with hyphens: `mem-size` for `memSize`, `vm-full-list` for `VMFullList`."""
    return "-".join(_WORD.findall(name)).lower() or name.lower()


def short(method: str) -> str:
    """Return the command of a method: its name without a leading `get`."""
    return kebab(_GET.sub("", method))


def long(method: str) -> str:
    """Return the command of a method whose short name is taken."""
    return kebab(method)


def stem(key: str) -> str:
    """Return the noun of a key: `vm` of `vmID`."""
    return re.sub(r"(?:ID|Id|UUID|Uuid|Name)$", "", key)
