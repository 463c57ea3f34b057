"""Machines as people see them: rows of a list, and the machines that a line names."""

from __future__ import annotations

import os

from vdsmsh.quick.errors import Failed, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    #: Calls a verb with arguments by wire name.
    Call = Callable[[str, dict[str, Any]], Any]
    Row = dict[str, Any]

#: The verb whose answer has everything that lists show; the host answers it from its newest sample.
STATS = "Host.getAllVmStats"
#: The columns of a list, and the members that `--filter` and `--sort` know them by.
COLUMNS = ("name", "status", "cpu", "memory", "address", "uptime", "reason")
WIDE = ("id", *COLUMNS)
_HEX = "0123456789abcdef-"
_KIB = 1024.0
#: Bytes in a hundredth of a megabit.
_PERCENT_OF_MBIT = 1250.0
#: What `--filter` compares.
_FILTERED = ("id", "name", "status", "address", "reason")


def read(call: Call) -> list[Row]:
    """Return a row for each machine, by name."""
    rows = [row_of(stats) for stats in call(STATS, {})]
    return sorted(rows, key=lambda row: (row["name"], row["id"]))


def row_of(stats: dict[str, Any]) -> Row:
    """Return the row of a machine."""
    cpu = [number(stats.get(name)) for name in ("cpuUser", "cpuSys")]
    balloon = stats.get("balloonInfo") or {}
    memory = number(balloon.get("balloon_cur"))
    return {
        "id": str(stats.get("vmId", "")),
        "name": str(stats.get("vmName", "")),
        "status": str(stats.get("status", "")),
        "cpu": None if None in cpu else sum(part for part in cpu if part is not None),
        "memory": None if memory is None else memory * _KIB,
        "address": str(stats.get("guestIPs") or "").strip(),
        "uptime": number(stats.get("elapsedTime")) if stats.get("status") != "Down" else None,
        "reason": _reason(stats),
        "disk": _disk_rate(stats.get("disks")),
        "net": _net_rate(stats.get("network")),
    }


def _reason(stats: dict[str, Any]) -> str:
    if stats.get("notResponding"):
        return f"does not respond: {stats['notResponding']}"
    if stats.get("status") == "Down":
        return str(stats.get("exitMessage") or "")
    if stats.get("migrationProgress") is not None:
        return f"migration, {stats['migrationProgress']} %"
    if stats.get("migrationError"):
        return f"migration failed: {stats['migrationError']}"
    code = str(stats.get("pauseCode") or "")
    return "" if code in ("", "NOERR") else code


def _disk_rate(disks: Any) -> float | None:
    """Return the bytes per second that all disks read and write."""
    values = disks.values() if isinstance(disks, dict) else ()
    return _sum(number(disk.get(name)) for disk in values for name in ("readRate", "writeRate"))


def _net_rate(nics: Any) -> float | None:
    """Return the bytes per second of all NICs: on the wire they are percent of their speed in Mbit/s."""
    rates = []
    for nic in nics.values() if isinstance(nics, dict) else ():
        speed = number(nic.get("speed")) or 0.0
        rates += [(number(nic.get(name)) or 0.0) * speed * _PERCENT_OF_MBIT for name in ("rxRate", "txRate")]
    return _sum(rates)


def _sum(rates: Iterable[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


def number(value: Any) -> float | None:
    """Return a number that may be text on the wire; None if there is none."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def chosen(rows: Sequence[Row], names: Sequence[str], *, every: bool, filters: Sequence[str]) -> list[Row]:
    """Return the machines that a line names.

    :param names: names or ids
    :param filters: `status=Up`; each has to hold
    :raises Usage: the line names none, or names some and all
    :raises Failed: a name is that of no machine, or of several
    """
    if every and names:
        raise Usage("--all goes without names")
    if not (names or every or filters):
        raise Usage("name one or more machines, or give --all or --filter MEMBER=VALUE")
    found = [one(rows, name) for name in names] if names else list(rows)
    unique = list({row["id"]: row for row in found}.values())
    return [row for row in unique if matches(row, filters)]


def one(rows: Sequence[Row], word: str) -> Row:
    """Return the machine of a name or an id.

    :raises Failed: there is none, or several have the name
    """
    lower = word.lower()
    if len(lower) == 36 and all(c in _HEX for c in lower):
        for row in rows:
            if row["id"] == lower:
                return row
        return {"id": lower, "name": word, "status": ""}
    found = [row for row in rows if row["name"] == word]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(row["id"] for row in found)
        raise Failed(f"the VM '{word}' is ambiguous: {len(found)} have this name; give one of the ids {ids}")
    raise Failed(f"there is no VM '{word}' (no-such-vm); `vdsmsh vm list` lists them")


def matches(row: Row, filters: Sequence[str]) -> bool:
    """Return whether a machine has the values of all filters.

    :raises Usage: a filter is not MEMBER=VALUE, or names no member
    """
    for text in filters:
        member, equals, value = text.partition("=")
        negated = member.endswith("!")
        member = member.rstrip("!").strip().lower()
        if not equals or member not in _FILTERED:
            members = ", ".join(_FILTERED)
            raise Usage(f"'{text}' is no filter: write MEMBER=VALUE or MEMBER!=VALUE, with one of {members}")
        if (row[member].lower() == value.strip().lower()) is negated:
            return False
    return True


def size(value: float | None) -> str:
    """Return bytes in the largest unit that leaves a whole part: `1.5G`."""
    if value is None:
        return ""
    for unit in ("B", "K", "M", "G"):
        if value < _KIB:
            return f"{value:.0f}{unit}" if value >= 10 or unit == "B" else f"{value:.1f}{unit}"
        value /= _KIB
    return f"{value:.1f}T"


def duration(seconds: float | None) -> str:
    """Return a duration in its two largest units: `3d 4h`."""
    if seconds is None:
        return ""
    parts: list[str] = []
    left = int(seconds)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        amount, left = divmod(left, length)
        if amount or parts or unit == "s":
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2])


def cells(row: Row, columns: Sequence[str]) -> list[str]:
    """Return the texts of a row."""
    shown = {
        "cpu": "" if row["cpu"] is None else f"{row['cpu']:.1f}",
        "memory": size(row["memory"]),
        "uptime": duration(row["uptime"]),
        "disk": _per_second(row["disk"]),
        "net": _per_second(row["net"]),
    }
    return [str(shown.get(name, row.get(name, ""))) for name in columns]


def _per_second(value: float | None) -> str:
    return "" if value is None else f"{size(value)}/s"


HEADERS = {"cpu": "CPU %", "net": "NET", "disk": "DISK"}


def table(rows: Iterable[Row], columns: Sequence[str], width: int) -> list[str]:
    """Return the lines of a table; the last column is cut so that a line fits the terminal.

    :param width: of the terminal in characters; 0: as wide as the content
    """
    body = [[_plain(text) for text in cells(row, columns)] for row in rows]
    lines = [[HEADERS.get(name, name.upper()) for name in columns], *body]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    while width and len(columns) > 2 and sum(widths[:-1]) + 2 * len(widths) > width:
        widest = max(range(len(widths) - 1), key=lambda place: widths[place])
        if widths[widest] <= 8:
            break
        widths[widest] -= 1
    if width:
        widths[-1] = max(6, min(widths[-1], width - sum(widths[:-1]) - 2 * (len(widths) - 1)))
    return [
        "  ".join(_fit(text, space) for text, space in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _plain(text: str) -> str:
    """Return a text on one line, without control characters: names are chosen by others."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def _fit(text: str, space: int) -> str:
    return text.ljust(space) if len(text) <= space else text[: max(1, space - 1)] + "…"


def terminal_width(stream: Any) -> int:
    """Return the width of the terminal that a stream is; 0 if it is none."""
    if not stream.isatty():
        return 0
    if columns := os.environ.get("COLUMNS", ""):
        return int(columns) if columns.isdigit() else 0
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 0
