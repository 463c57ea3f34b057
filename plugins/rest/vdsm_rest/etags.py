"""Entity tags: `ETag`, `If-Match`, `If-None-Match` (RFC 9110, section 13).

A representation in a content coding has other bytes, and so another strong tag (section 8.8.3.3): that of the
plain one with the coding appended. In conditions either tag stands for the representation.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_CODING: Final = "-gzip"


def etag_of(body: bytes) -> str:
    """Return the strong tag of a representation: the same exactly when its bytes are the same."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def coded(etag: str, coding: str) -> str:
    """Return the tag of the same representation in a content coding."""
    return f'{etag[:-1]}-{coding}"'


def matches_strongly(header: str, etag: str) -> bool:
    """Return whether `If-Match` holds; weak tags never match."""
    return header.strip() == "*" or any(
        not weak and _plain(tag) == etag for weak, tag in _TAG.findall(header)
    )


def matches_weakly(header: str, etag: str) -> bool:
    """Return whether `If-None-Match` has this tag."""
    return header.strip() == "*" or any(_plain(tag) == etag for _, tag in _TAG.findall(header))


def _plain(opaque: str) -> str:
    return f'"{opaque.removesuffix(_CODING)}"'
