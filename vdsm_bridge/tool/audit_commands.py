"""`vdsm-tool audit ...`: show the audit log, and verify that nothing in it was changed or removed."""

from __future__ import annotations

import argparse
import fnmatch
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from vdsm_bridge.tool.console import DONE, FAILED, NOT_WELL, Commands, print_error, print_line
from vdsm_core import config as configuration
from vdsm_core.audit import AuditRecord
from vdsm_core.audit.chain import heads_in
from vdsm_core.audit.files import configured_path
from vdsm_core.audit.verify import records, verify

#: Only the daemon's unit writes with this field: journald sets it, not the sender of a message.
_UNIT: Final = "_SYSTEMD_UNIT=vdsmd.service"
_JOURNAL_TIMEOUT: Final = 60.0  # s


def add(commands: Commands[argparse.ArgumentParser], file: argparse.ArgumentParser) -> None:
    """Add the commands to the parser.

    :param file: the parent that has `--config`
    """
    audit = commands.add_parser("audit", help="show or verify the audit log")
    words = audit.add_subparsers(required=True, metavar="COMMAND")
    check = words.add_parser(
        "verify",
        help="find records that were changed, inserted or removed",
        parents=[file],
    )
    _add_path(check)
    check.add_argument(
        "--heads",
        metavar="FILE",
        help="compare with the heads in this file, a copy of the daemon's log ('-': standard input); "
        "default: the journal of the system, if there is one",
    )
    check.set_defaults(run=_verify)
    show = words.add_parser("show", help="print records, one a line", parents=[file])
    _add_path(show)
    show.add_argument("--verb", metavar="PATTERN", default="*", help="only of these verbs, as 'VM.*'")
    show.add_argument("--object", metavar="ID", help="only about this object")
    show.add_argument("--who", metavar="NAME", help="only by this caller")
    show.add_argument("--outcome", metavar="WORD", help="only with this outcome: begun, done, a slug")
    show.add_argument("--since", metavar="TIME", default="", help="only from then on: 2026-01-31T12:00 (UTC)")
    show.add_argument("--json", action="store_true", help="print the records as they are in the file")
    show.set_defaults(run=_show)


def _add_path(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", type=Path, metavar="FILE", help="the audit log; default: as configured")


def _path(options: argparse.Namespace) -> Path | None:
    """Return the audit log to read; None, with a message, if the configuration has no file."""
    if options.file is not None:
        return Path(options.file)
    config = configuration.load(options.config)
    path = configured_path(config)
    if path is None:
        to = config.audit.to
        print_error(f"Cannot find the audit log: with [audit] to = '{to}' there is no file. Use --file.")
    return path


def _verify(options: argparse.Namespace) -> int:
    path = _path(options)
    if path is None:
        return FAILED
    heads = heads_in(_logged(options.heads))
    report = verify(path, heads)
    for finding in report.findings:
        print_line(f"{finding.kind.upper()}: {finding.text}")
    print_line(
        f"{path}: {report.records} records in {report.files} files; the newest one is {report.head.seq}, "
        f"sha256 {report.head.hash}"
    )
    if report.confirmed:
        print_line(f"{report.confirmed} heads from the log match.")
    elif not heads:
        print_line(
            "No heads from the log to compare with, so a chain that was computed anew would not be noticed. "
            "Use --heads FILE."
        )
    print_line("The audit log is intact." if report.intact else "The audit log is not intact.")
    return DONE if report.intact else NOT_WELL


def _logged(heads: str | None) -> str:
    """Return the text that holds the heads."""
    if heads == "-":
        return sys.stdin.read()
    if heads is not None:
        return Path(heads).read_text("utf-8", errors="replace")
    journalctl = shutil.which("journalctl")
    if journalctl is None:
        return ""
    command = [journalctl, "--quiet", "--no-pager", "--output=cat", _UNIT]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            command, capture_output=True, text=True, timeout=_JOURNAL_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        print_error("Cannot read the journal: journalctl did not end within 60 s. Use --heads FILE.")
        return ""
    return done.stdout


def _show(options: argparse.Namespace) -> int:
    path = _path(options)
    if path is None:
        return FAILED
    for record in records(path):
        if _chosen(record, options):
            print_line(msgspec.json.encode(record).decode() if options.json else _line(record))
    return DONE


def _chosen(record: AuditRecord, options: argparse.Namespace) -> bool:
    return (
        fnmatch.fnmatchcase(record.verb, options.verb)
        and options.object in (None, record.object)
        and options.who in (None, record.who)
        and options.outcome in (None, record.outcome)
        and record.time >= options.since
    )


def _line(record: AuditRecord) -> str:
    """Return a record for reading: when, who, from where, what, and how it ended."""
    where = f"{record.binding} {record.address}".strip()
    seconds = f" in {record.seconds:.3f} s" if isinstance(record.seconds, float) else ""
    words = (
        record.time,
        f"{record.who} ({record.role}, {record.how})",
        f"from {where}:",
        record.verb,
        record.object,
    )
    return " ".join(word for word in words if word) + f" {record.outcome}{seconds}"
