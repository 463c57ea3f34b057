"""Events as lines: for people, in colour on a terminal, or for programs."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from vdsm_bridge.transport import Event
from vdsmsh.output.tables import compact, word

FORMATS: Final = ("csv", "json", "text")

#: SGR codes of ECMA-48: faint, cyan, red.
_TIME: Final = "2"
_KIND: Final = "36"
_GAP: Final = "31"
#: Characters that parameters must have to be cut; with less room they fold.
_MIN_ROOM: Final = 20

Line = Callable[[Event], str]


def line_format(format_: str, stream: TextIO) -> Line:
    """Return the function that formats an event for a stream."""
    if format_ == "json":
        return lambda event: json.dumps(_plain(event), ensure_ascii=False)
    if format_ == "csv":
        return _csv
    terminal = stream.isatty()
    colour = terminal and not os.environ.get("NO_COLOR")
    return lambda event: _text(
        event, colour=colour, width=shutil.get_terminal_size().columns if terminal else 0
    )


def pairs(values: Mapping[str, Any]) -> str:
    """Return `name=value` for each, with quotes around a value that is not one word."""
    return " ".join(f"{name}={_word(value)}" for name, value in values.items())


def paint(text: str, code: str, *, colour: bool = True) -> str:
    """Return a text in a colour, or unchanged.

    :param code: SGR code of ECMA-48
    """
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


def _text(event: Event, *, colour: bool, width: int) -> str:
    at, (_, component, operation, object_) = _time(event.time), event.id.split("|", 3)
    # The object is part of the id; leave out a parameter that repeats it.
    params = pairs({name: value for name, value in event.params.items() if value != object_})
    what, object_ = _printable(f"|{component}|{operation}|"), _printable(object_)
    room = width - len(f"{at} {what}{object_} ")
    if width and _MIN_ROOM < room < len(params):
        params = f"{params[: room - 1]}…"
    if event.is_gap:
        return paint(f"{at} {what}{object_} {params}", _GAP, colour=colour)
    return f"{paint(at, _TIME, colour=colour)} {paint(what, _KIND, colour=colour)}{object_} {params}".rstrip()


def _time(seconds: float) -> str:
    """Return the local time of day, with the date unless that is today's."""
    moment = datetime.fromtimestamp(seconds, tz=UTC).astimezone()
    today = datetime.now(tz=UTC).astimezone().date()
    date = "" if moment.date() == today else f"{moment:%Y-%m-%d} "
    return f"{date}{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


def _csv(event: Event) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(
        [event.seq, event.time, event.id, compact(dict(event.params))]
    )
    return line.getvalue()


def _plain(event: Event) -> dict[str, Any]:
    return {"seq": event.seq, "id": event.id, "time": event.time, "params": event.params}


def _word(value: Any) -> str:
    text = str(word(value))
    whole = bool(text) and text.isprintable() and not any(character in " \"'" for character in text)
    quoted = isinstance(value, str) and not whole
    return _printable(json.dumps(text, ensure_ascii=False) if quoted else text)


def _printable(text: str) -> str:
    """Return a text with its control characters escaped, so that it cannot control a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
