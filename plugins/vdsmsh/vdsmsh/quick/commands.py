"""The commands on machines: what each takes, what it calls, and its help."""

from __future__ import annotations

import os
import time

from vdsmsh.quick import machines
from vdsmsh.quick.actions import ACTIONS
from vdsmsh.quick.errors import Failed, Refused, Usage
from vdsmsh.quick.helptext import help_of
from vdsmsh.quick.options import parse, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TextIO

    from vdsmsh.quick.actions import Action
    from vdsmsh.quick.machines import Call, Row
    from vdsmsh.quick.options import Line

#: Seconds between two looks at a machine that is waited for.
_LOOK = 0.5
_WAIT = 300.0
_FAILED = 4
_UNREACHABLE = 3


class Console:
    """What a command prints on, and whether it prints notices."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self.out = out
        self.err = err
        self.quiet = False

    def say(self, text: str) -> None:
        """Print what an action came to."""
        if not self.quiet:
            print(text, file=self.out)


def run(name: str, words: Sequence[str], call_of: Callable[[Line], Call], console: Console) -> int:
    """Carry out `vm NAME`.

    :param call_of: returns what calls verbs of the host of a line
    :returns: the exit code
    :raises Failed: it cannot be done
    :raises Usage: the line is not valid
    """
    if name in ACTIONS:
        return _act(name, ACTIONS[name], words, call_of, console)
    handler = {
        "list": _list,
        "top": _top,
        "xml": _xml,
        "edit": _edit,
        "rename": _rename,
        "autostart": _autostart,
    }[name]
    return handler(words, call_of, console)


def _parsed(name: str, words: Sequence[str], known: dict[str, bool], console: Console) -> Line | None:
    """Parse a line; print the help and return None if it asks for that."""
    line = parse(words, known, f"vm {name}")
    console.quiet = console.quiet or line.has("-q", "--quiet")
    if line.has("-h", "--help"):
        print(help_of(name), file=console.out)
        return None
    return line


# Actions.


def _act(
    name: str, action: Action, words: Sequence[str], call_of: Callable[[Line], Call], console: Console
) -> int:
    line = _parsed(name, words, action.flags(), console)
    if line is None:
        return 0
    arguments = action.arguments(line)
    timeout = seconds(line.get("--wait-timeout", str(_WAIT)), "--wait-timeout")
    filters = line.repeated.get("--filter", [])
    if not (line.names or filters or line.has("--all")):
        raise Usage(f"name one or more machines, or give --all or --filter; see `vdsmsh vm {name} --help`")
    call = call_of(line)
    rows = machines.chosen(machines.read(call), line.names, every=line.has("--all"), filters=filters)
    code, begun = 0, []
    for row in rows:
        try:
            call(action.verb, {"vmID": row["id"], **arguments})
        except Refused as error:
            print(f"vdsmsh: {row['name']}: {error}", file=console.err)
            code = error.code
        else:
            begun.append(row)
            if not line.has("--wait"):
                console.say(f"{row['name']} {action.done}")
    if line.has("--wait"):
        for row in begun:
            code = max(code, _await(call, row, action, timeout, console))
    return code


def _await(call: Call, row: Row, action: Action, timeout: float, console: Console) -> int:
    """Wait until a machine has the status that an action leads to; return the exit code."""
    end = time.monotonic() + timeout
    while True:
        try:
            (stats,) = call("VM.getStats", {"vmID": row["id"]})
        except Refused as error:
            if error.slug == "no-such-vm" and "Down" in action.goal:
                console.say(f"{row['name']} is gone")
                return 0
            raise
        now = machines.row_of(stats)
        reason = f": {now['reason']}" if now["reason"] else ""
        if now["status"] in action.goal:
            console.say(f"{row['name']} is in status {now['status']}{reason}")
            return 0
        if now["status"] in action.bad:
            print(f"vdsmsh: {row['name']} is in status {now['status']}{reason}", file=console.err)
            return _FAILED
        if time.monotonic() > end:
            print(
                f"vdsmsh: {row['name']} is still in status {now['status']} after {timeout:g} s",
                file=console.err,
            )
            return _FAILED
        time.sleep(_LOOK)


# Lists.


def _list(words: Sequence[str], call_of: Callable[[Line], Call], console: Console) -> int:
    line = _parsed(
        "list", words, {"-o": True, "--filter": True, "--sort": True, "--no-header": False}, console
    )
    if line is None:
        return 0
    if line.names:
        raise Usage(f"`vm list` takes no name ('{line.names[0]}'); `vdsmsh vm info NAME` shows one machine")
    wide = line.get("-o")
    if wide not in ("", "wide"):
        raise Usage(f"-o: '{wide}' is no form of the list: there is wide; -f gives other formats")
    rows = machines.read(call_of(line))
    rows = _sorted([row for row in rows if machines.matches(row, line.repeated.get("--filter", []))], line)
    columns = machines.WIDE if wide else machines.COLUMNS
    lines = machines.table(rows, columns, 0 if wide else machines.terminal_width(console.out))
    console.out.write("".join(f"{text}\n" for text in lines[line.has("--no-header") :]))
    return 0


def _sorted(rows: list[Row], line: Line, otherwise: str = "") -> list[Row]:
    member = line.get("--sort", otherwise)
    if not member:
        return rows
    if member not in (*machines.WIDE, "disk", "net"):
        raise Usage(f"--sort: there is no column '{member}'; there are {', '.join(machines.WIDE)}")
    falls = member in ("cpu", "memory", "uptime", "disk", "net")

    def key(row: Row) -> Any:
        return (row[member] if row[member] is not None else -1.0) if falls else row[member]

    return sorted(rows, key=key, reverse=falls)


_TOP = ("name", "status", "cpu", "memory", "disk", "net", "uptime")


def _top(words: Sequence[str], call_of: Callable[[Line], Call], console: Console) -> int:
    known = {"--sort": True, "--filter": True, "--interval": True, "--count": True}
    line = _parsed("top", words, known, console)
    if line is None:
        return 0
    if line.names:
        raise Usage(
            f"`vm top` takes no name ('{line.names[0]}'); --filter name={line.names[0]} selects one machine"
        )
    interval = seconds(line.get("--interval", "2"), "--interval")
    count = line.get("--count", "0")
    if not count.isdigit():
        raise Usage(f"--count: '{count}' is not a whole number")
    call, live = call_of(line), console.out.isatty()
    shown = 0
    while True:
        rows = [
            row for row in machines.read(call) if machines.matches(row, line.repeated.get("--filter", []))
        ]
        width = machines.terminal_width(console.out)
        lines = machines.table(_sorted(rows, line, "cpu"), _TOP, width)
        if live:
            height = os.get_terminal_size(console.out.fileno()).lines
            # Home, and clear to the end of each line and of the screen: no flicker.
            console.out.write(
                "\x1b[H" + "".join(f"{text}\x1b[K\n" for text in lines[: height - 1]) + "\x1b[J"
            )
        else:
            console.out.write("".join(f"{text}\n" for text in [*lines, ""]))
        console.out.flush()
        shown += 1
        if shown == int(count):
            return 0
        time.sleep(interval)


# Definitions.


def _machine(name: str, line: Line, call: Call, words: int = 1) -> Row:
    if len(line.names) != words:
        form = "NAME" if words == 1 else "NAME NEW"
        raise Usage(f"`vm {name}` takes {form}; see `vdsmsh vm {name} --help`")
    return machines.one(machines.read(call), line.names[0])


def _xml(words: Sequence[str], call_of: Callable[[Line], Call], console: Console) -> int:
    line = _parsed("xml", words, {"--running": False}, console)
    if line is None:
        return 0
    call = call_of(line)
    row = _machine("xml", line, call)
    text = call("VM.getXML", {"vmID": row["id"], "running": line.has("--running")})
    console.out.write(text if text.endswith("\n") else f"{text}\n")
    return 0


def _edit(words: Sequence[str], call_of: Callable[[Line], Call], console: Console) -> int:
    """Let an editor change the definition, and apply it; a refused one is kept in its file."""
    import shlex  # noqa: PLC0415 - only this command starts programs
    import subprocess  # noqa: PLC0415
    import tempfile  # noqa: PLC0415

    line = _parsed("edit", words, {}, console)
    if line is None:
        return 0
    call = call_of(line)
    row = _machine("edit", line, call)
    before = call("VM.getXML", {"vmID": row["id"]})
    handle, path = tempfile.mkstemp(prefix="vdsmsh-", suffix=".xml")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(before)
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        # The user's own editor, without a shell.
        code = subprocess.run([*shlex.split(editor), path], check=False).returncode  # noqa: S603
    except OSError as error:
        os.unlink(path)
        raise Failed(f"cannot start the editor '{editor}': {error.strerror}; set VISUAL or EDITOR") from None
    with open(path, encoding="utf-8") as file:
        after = file.read()
    if code or after == before:
        os.unlink(path)
        if code:
            raise Failed(f"the editor '{editor}' ended with {code}: nothing is changed")
        console.say(f"{row['name']} is not changed")
        return 0
    if call("VM.getXML", {"vmID": row["id"]}) != before:
        raise Failed(f"{row['name']} was changed meanwhile; your text is in {path}")
    try:
        done = call("VM.setXML", {"vmID": row["id"], "xml": after})
    except Refused as error:
        raise Failed(f"{row['name']}: {error}; your text is in {path}", error.code) from None
    os.unlink(path)
    changed = ", ".join(done["changed"]) or "nothing"
    restart = "; it takes effect when the machine is stopped and started" if done["needsRestart"] else ""
    console.say(f"{row['name']} is changed: {changed}{restart}")
    return 0


def _rename(words: Sequence[str], call_of: Callable[[Line], Call], console: Console) -> int:
    line = _parsed("rename", words, {}, console)
    if line is None:
        return 0
    call = call_of(line)
    row = _machine("rename", line, call, words=2)
    call("VM.rename", {"vmID": row["id"], "name": line.names[1]})
    console.say(f"{row['name']} is {line.names[1]} now")
    return 0


def _autostart(words: Sequence[str], call_of: Callable[[Line], Call], console: Console) -> int:
    line = _parsed("autostart", words, {}, console)
    if line is None:
        return 0
    if len(line.names) not in (1, 2):
        raise Usage("`vm autostart` takes NAME [on|off]; see `vdsmsh vm autostart --help`")
    call = call_of(line)
    row = machines.one(machines.read(call), line.names[0])
    if len(line.names) == 1:
        print("on" if call("VM.getAutostart", {"vmID": row["id"]}) else "off", file=console.out)
        return 0
    enabled = truth(line.names[1])
    call("VM.setAutostart", {"vmID": row["id"], "enabled": enabled})
    console.say(f"{row['name']} {'is started with the host' if enabled else 'is not started with the host'}")
    return 0


def truth(text: str) -> bool:
    """Return a truth value in any of the spellings that people use.

    :raises Usage: it is none
    """
    lower = text.lower()
    if lower in ("on", "yes", "true", "1"):
        return True
    if lower in ("off", "no", "false", "0"):
        return False
    raise Usage(f"'{text}' is no truth value: write on or off")
