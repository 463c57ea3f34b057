"""From a line to a quick command, if it is one."""

from __future__ import annotations

import os
import sys

from vdsmsh.quick import commands, complete
from vdsmsh.quick.errors import Failed, NotQuick, Usage
from vdsmsh.quick.helptext import NAMES
from vdsmsh.quick.options import parse, seconds
from vdsmsh.quick.place import choose_url
from vdsmsh.quick.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from vdsmsh.quick.machines import Call
    from vdsmsh.quick.options import Line

#: Slug of the refusal of a host that lacks the verb: an older one, or one without the plugin virt.
_ABSENT = "no-such-verb"
_USAGE, _INTERRUPTED, _BROKEN_PIPE = 2, 130, 141


def attempt(words: Sequence[str]) -> int | None:
    """Carry out a line on the quick way; return its exit code, None if the line is for the whole program."""
    if words[:1] == ["__complete"]:
        return _complete(words[1:])
    before = _in_front(words)
    if before is None:
        return None
    front, rest = before
    if rest[:1] != ["vm"] or len(rest) < 2 or rest[1] not in NAMES:
        return None
    wires: list[Wire] = []

    def call_of(line: Line) -> Call:
        wires.append(_wire(line, front))
        return wires[-1].call

    console = commands.Console(sys.stdout, sys.stderr)
    console.quiet = front.has("-q", "--quiet")
    try:
        code = commands.run(rest[1], rest[2:], call_of, console)
        console.out.flush()
    except NotQuick:
        return None
    except (Usage, Failed, KeyboardInterrupt, BrokenPipeError) as error:
        return _ended(error)
    for wire in wires:
        complete.forget_other(wire.url, wire.revision)
    return code


def _ended(error: BaseException) -> int | None:
    """Print an error; return the exit code, None if the line is for the whole program after all."""
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # Python flushes standard output once more at its end; without this it would print an error then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    if getattr(error, "slug", "") == _ABSENT:
        return None
    sys.stdout.flush()
    sys.stderr.write(f"vdsmsh: {' '.join(str(error).split())}\n")
    return error.code if isinstance(error, Failed) else _USAGE


def _complete(words: Sequence[str]) -> int | None:
    if len(words) != 2:
        return None
    try:
        candidates = complete.answer(words[0], words[1])
    except NotQuick:
        return None
    sys.stdout.write("".join(f"{candidate}\n" for candidate in candidates))
    return 0


def _in_front(words: Sequence[str]) -> tuple[Line, list[str]] | None:
    """Return the options before the command, and the rest; None if there are others than quick ones."""
    rest = list(words)
    options: list[str] = []
    while rest and rest[0].startswith("-"):
        flag, equals, _ = rest[0].partition("=")
        if flag not in ("-q", "--quiet", "--url", "--timeout"):
            return None
        options.append(rest.pop(0))
        if flag in ("--url", "--timeout") and not equals and rest:
            options.append(rest.pop(0))
    try:
        return parse(options, {}, "vm"), rest
    except Usage:
        # The program says why.
        return None


def _wire(line: Line, front: Line) -> Wire:
    url = choose_url(line.get("--url") or front.get("--url"))
    timeout = seconds(line.timeout or front.timeout or "60", "--timeout")
    return Wire(url, os.environ.get("VDSM_TOKEN", "").strip(), timeout)
