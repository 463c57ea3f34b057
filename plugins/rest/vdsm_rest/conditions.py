"""Entity tags: `ETag`, `If-Match`, `If-None-Match` (RFC 9110, section 13)."""

from __future__ import annotations

import hashlib
import re
from typing import Final

_TAG: Final = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def etag_of(body: bytes) -> str:
    """The strong tag of a representation: the same exactly when its bytes are the same."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def matches_strongly(header: str, etag: str) -> bool:
    """Whether `If-Match` holds: weak tags never do."""
    return header.strip() == "*" or any(not weak and tag == etag for weak, tag in _TAG.findall(header))


def matches_weakly(header: str, etag: str) -> bool:
    """Whether `If-None-Match` names this tag."""
    return header.strip() == "*" or any(tag == etag for _, tag in _TAG.findall(header))
