"""The hash chain of the audit log: what makes a changed, removed or missing record visible.

Each line begins with its number and the SHA-256 of the line before it, across files and restarts::

    {"seq":18,"prev":"9c0f...","time":"2026-01-31T12:00:00.125Z","call":...}

The *head* is the number and the hash of the newest line. It stands in a file beside the log, and goes to the
daemon's log at intervals: an attacker who can write the files can compute the whole chain anew, but cannot
change what the journal of the system, or a log server, has already.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final

import msgspec

#: What the first line of a chain has for `prev`.
GENESIS: Final = "0" * 64
#: Bytes of the head file: one line, padded, so that each write replaces the one before it entirely.
_HEAD_SIZE: Final = 160
_HEAD_LINE: Final = "Audit log head: record {seq}, sha256 {hash}"
_HEAD_PATTERN: Final = re.compile(r"Audit log head: record (\d+), sha256 ([0-9a-f]{64})")


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The newest line of a chain, and the oldest one that is kept."""

    #: Number of the newest line; 0: none was written yet.
    seq: int = 0
    #: SHA-256 of the newest line without its line feed, in hex.
    hash: str = GENESIS
    #: Number of the oldest line that rotation has kept.
    first: int = 1

    def message(self) -> str:
        """Return the log line that makes the head known outside the files."""
        return _HEAD_LINE.format(seq=self.seq, hash=self.hash)


class Link(msgspec.Struct, frozen=True):
    """What the chain needs of one line."""

    seq: int = 0
    prev: str = ""


def digest(line: bytes) -> str:
    """Return the hash of a line (without its line feed), in hex."""
    return hashlib.sha256(line).hexdigest()


def chained(body: bytes, head: Head) -> bytes:
    """Return the line that follows `head`.

    :param body: the record as a JSON object
    """
    return b'{"seq":%d,"prev":"%s",%s' % (head.seq + 1, head.hash.encode(), body[1:])


def link_of(line: bytes) -> Link | None:
    """Return what a line says of its place in the chain: None for a line that is no JSON object.

    `seq` is 0 for a line of a version without a chain.
    """
    try:
        return msgspec.json.decode(line, type=Link)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def heads_in(text: str) -> dict[int, str]:
    """Return the heads that a log holds: hashes by record number."""
    return {int(seq): hash_ for seq, hash_ in _HEAD_PATTERN.findall(text)}


def head_path(path: Path) -> Path:
    """Return the path of the head file of an audit log."""
    return path.with_name(f"{path.name}.head")


def encode_head(head: Head) -> bytes:
    """Return the content of the head file."""
    return msgspec.json.encode(head).ljust(_HEAD_SIZE - 1) + b"\n"


def read_head(path: Path) -> Head | None:
    """Return the head beside an audit log, or None: it is absent, or not a head.

    :raises OSError: it cannot be read
    """
    try:
        return msgspec.json.decode(head_path(path).read_bytes(), type=Head)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None


class HeadFile:
    """The head file, open for writing."""

    def __init__(self, path: Path) -> None:
        self._path = head_path(path)
        self._file = -1

    def write(self, head: Head) -> None:
        """Replace the head.

        :raises OSError: it cannot be written
        """
        if self._file < 0:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.pwrite(self._file, encode_head(head), 0)

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
