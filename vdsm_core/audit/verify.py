"""Reading the audit log again: records in order, and what is wrong with their chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from vdsm_core.audit.chain import Head, digest, link_of, read_head
from vdsm_core.audit.files import numbers
from vdsm_core.audit.record import AuditRecord

#: Times that the files are listed, at most, until no rotation came between.
_TRIES: Final = 10


class Line(msgspec.Struct, frozen=True):
    """One line of a file: where it stands (lines count from 1), and its bytes without the line feed."""

    path: Path
    number: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.path}:{self.number}"


class Finding(msgspec.Struct, frozen=True):
    """Something about the chain: `error`, or a `note` about what needs no action."""

    kind: Literal["error", "note"]
    text: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification found.

    `records` counts chained lines; `head` is the newest one; `confirmed` counts the heads from elsewhere that
    the chain matches.
    """

    records: int
    files: int
    head: Head
    confirmed: int
    findings: Sequence[Finding]

    @property
    def intact(self) -> bool:
        """Whether nothing was changed, removed, or is missing."""
        return not any(finding.kind == "error" for finding in self.findings)


def paths(path: Path) -> list[Path]:
    """Return the files of an audit log, the oldest first.

    :raises OSError: the folder cannot be read
    """
    return list(reversed(numbers(path).values()))


def lines(path: Path) -> Iterator[Line]:
    """Yield every line of an audit log, the oldest first, also while it is written and rotated.

    :raises OSError: it cannot be read
    """
    for name, content in _contents(path):
        for number, data in enumerate(content.split(b"\n"), 1):
            if data:
                yield Line(name, number, data)


def records(path: Path) -> Iterator[AuditRecord]:
    """Yield every record of an audit log, the oldest first; lines that are no records are left out.

    :raises OSError: it cannot be read
    """
    for line in lines(path):
        try:
            yield msgspec.json.decode(line.data, type=AuditRecord)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue


def verify(path: Path, heads: Mapping[int, str] | None = None) -> Report:
    """Check the chain of an audit log.

    :param heads: hashes by record number, as logged elsewhere; see `vdsm_core.audit.chain.heads_in`
    :raises OSError: it cannot be read
    """
    before = read_head(path)
    content = list(lines(path))
    after = read_head(path)
    check = _Check(dict(heads or {}))
    for line in content:
        check.add(line)
    check.finish(before, after)
    return check.report(len(paths(path)))


def _contents(path: Path) -> list[tuple[Path, bytes]]:
    """Return the files with their contents. A rotation meanwhile begins it anew."""
    for _ in range(_TRIES):
        names = paths(path)
        try:
            found = [(name, name.stat().st_ino, name.read_bytes()) for name in names]
            same = [(name, name.stat().st_ino) for name in paths(path)]
        except FileNotFoundError:
            continue
        if same == [(name, inode) for name, inode, _ in found]:
            return [(name, data) for name, _, data in found]
    raise OSError(f"{path} is rotated faster than it can be read")


class _Check:
    """A walk along the chain."""

    def __init__(self, heads: dict[int, str]) -> None:
        self._heads = heads
        self._findings: list[Finding] = []
        self._last: Line | None = None
        self._head = Head()
        self._first = 0
        self._records = 0
        self._unchained = 0
        self._confirmed = 0

    def add(self, line: Line) -> None:
        """Compare a line with the one before it."""
        link = link_of(line.data)
        if link is None:
            self._unreadable(line)
            return
        if not link.seq:
            self._without_number(line)
            return
        hash_ = digest(line.data)
        if self._last is None:
            self._first = link.seq
        elif link.seq != self._head.seq + 1:
            self._jump(line, link.seq)
        elif link.prev != self._head.hash:
            self._error(
                f"{self._last}: record {self._head.seq} was changed, or record {link.seq} after it: "
                "the hash that the one has of the other does not match"
            )
        expected = self._heads.pop(link.seq, "")
        if expected == hash_:
            self._confirmed += 1
        elif expected:
            self._error(f"{line}: record {link.seq} is not the one whose hash was logged")
        self._last, self._records = line, self._records + 1
        self._head = Head(seq=link.seq, hash=hash_)

    def finish(self, before: Head | None, after: Head | None) -> None:
        """Compare the ends of the chain with the head file and with the heads that were logged.

        :param before: the head file before the lines were read; `after`: afterwards
        """
        if before is None or after is None:
            if self._records:
                self._error(
                    "The head file is missing or damaged: it cannot show whether newest records are missing"
                )
        else:
            self._ends(before, after)
        kept = after.first if after is not None else self._first
        for seq in sorted(self._heads):
            if seq >= kept:
                self._error(f"Record {seq}, whose hash was logged, is missing")
        if self._unchained:
            self._note(f"{self._unchained} records are older than the chain")

    def report(self, files: int) -> Report:
        """Return what was found."""
        return Report(
            records=self._records,
            files=files,
            head=self._head,
            confirmed=self._confirmed,
            findings=tuple(self._findings),
        )

    def _ends(self, before: Head, after: Head) -> None:
        if self._head.seq < before.seq:
            self._error(f"The newest records are missing: {self._head.seq + 1} to {before.seq}")
        elif self._head.seq == before.seq and self._head.hash != before.hash:
            self._error(f"{self._last}: record {before.seq}, the newest one, was changed")
        if self._records and self._first > after.first:
            self._error(f"The oldest records are missing: {after.first} to {self._first - 1}")

    def _unreadable(self, line: Line) -> None:
        # A power failure leaves a part of a line; the chain has no record of it. If it was a record, the
        # next one does not follow on the one before it, which is an error of its own.
        self._note(f"{line}: not a record; an incomplete line, if the records around it follow each other")

    def _without_number(self, line: Line) -> None:
        if self._last is None:
            self._unchained += 1
        else:
            self._error(f"{line}: a record outside the chain was inserted")

    def _jump(self, line: Line, seq: int) -> None:
        if seq > self._head.seq + 1:
            self._error(f"{line}: records {self._head.seq + 1} to {seq - 1} are missing before it")
        else:
            self._error(f"{line}: record {seq} follows on record {self._head.seq}: moved, or inserted")

    def _error(self, text: str) -> None:
        self._findings.append(Finding("error", text))

    def _note(self, text: str) -> None:
        self._findings.append(Finding("note", text))
