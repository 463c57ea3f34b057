"""Operations to try the helper with. Each kind of argument is among them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from vdsm_core.errors import NotFound, VdsmError
from vdsm_core.privileged import Entry, Executable, Name, Opened, Root, Within, operation, run_command

ROOT = Root("/var/lib/vdsm-sample")
Small = Annotated[int, Meta(ge=0, le=10)]
Seconds = Annotated[float, Meta(ge=0, le=60)]


class NoSuchLamp(NotFound):
    """There is no such lamp. Facts: `lamp`."""

    slug = "no-such-lamp-here"
    template = "There is no lamp '{lamp}'"


class Undeclared(VdsmError):
    """An error that the operation does not declare. Facts: none."""

    slug = "undeclared"
    template = "It is dark"


class Mode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A nested argument."""

    level: Small
    names: Annotated[list[Name], Meta(max_length=4)] = []


@operation(deadline=5.0, idempotent=True)
def add(left: Small, right: Small = 1) -> int:
    """Add two numbers."""
    return left + right


@operation(deadline=5.0)
def describe(name: Name, kind: Literal["a", "b"], mode: Mode, on: bool) -> str:
    """Return what was given."""
    return f"{name} {kind} {mode.level} {','.join(mode.names)} {on}"


@operation(deadline=5.0)
def remove(entry: Annotated[Entry, Within(ROOT)]) -> None:
    """Remove a file."""
    os.unlink(entry.name, dir_fd=entry.folder)


@operation(deadline=5.0, idempotent=True)
def read(file: Annotated[Opened, Within(ROOT, os.O_RDONLY)]) -> bytes:
    """Read a file."""
    return os.read(file.descriptor, 1_000)


@operation(deadline=5.0, idempotent=True)
def own(file: Annotated[Entry, Within(ROOT)], uid: Annotated[int, Meta(ge=0, le=65_535)]) -> None:
    """Change the owner of a file, without the capability for it."""
    os.chown(file.name, uid, -1, dir_fd=file.folder, follow_symlinks=False)


@operation(deadline=5.0, capabilities=("CAP_CHOWN",), idempotent=True)
def own_with_power(file: Annotated[Entry, Within(ROOT)], uid: Annotated[int, Meta(ge=0, le=65_535)]) -> None:
    """Change the owner of a file."""
    os.chown(file.name, uid, -1, dir_fd=file.folder, follow_symlinks=False)


@operation(deadline=30.0)
def wait_for(mark: Annotated[Entry, Within(ROOT)], seconds: Seconds) -> None:
    """Make a file, and take some time: not to be repeated."""
    os.close(os.open(mark.name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, dir_fd=mark.folder))
    time.sleep(seconds)


@operation(deadline=30.0, idempotent=True)
def count_up(mark: Annotated[Entry, Within(ROOT)], until: Small) -> int:
    """Add a line to a file, and take a minute if it has fewer than `until`: may be repeated."""
    file = os.open(mark.name, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600, dir_fd=mark.folder)
    try:
        os.write(file, b"once\n")
        lines = os.pread(file, 1_000, 0).count(b"\n")
    finally:
        os.close(file)
    if lines < until:
        time.sleep(60)
    return lines


@operation(deadline=0.3)
def overstay(seconds: Seconds) -> None:
    """Take longer than allowed."""
    time.sleep(seconds)


@operation(deadline=5.0, raises=(NoSuchLamp,))
def fail(how: Literal["declared", "undeclared", "system", "bug"]) -> None:
    """Fail in one of the ways there are."""
    if how == "declared":
        raise NoSuchLamp(lamp="hall")
    if how == "undeclared":
        raise Undeclared
    if how == "system":
        Path("/nonexistent/file").read_text()
    raise KeyError(how)


@operation(deadline=5.0, capabilities=("CAP_CHOWN",), idempotent=True)
def powers_of_command(name: Name) -> str:
    """Return the capabilities of a command, its environment and its arguments."""
    shell = Executable("/bin/sh")
    status = run_command(shell, ["-c", "grep ^Cap /proc/self/status; env; echo $0"], [name], seconds=4.0)
    return status.decode()


@operation(deadline=5.0)
def run_echo(name: Name) -> bytes:
    """Run a command with an operand."""
    return run_command(Executable("/bin/echo"), ["-n"], [name], seconds=4.0)


@operation(deadline=10.0)
def run_slowly(seconds: Seconds) -> None:
    """Run a command for a time that is over after a fifth of a second."""
    run_command(Executable("/bin/sleep"), [str(seconds)], seconds=0.2)


@operation(deadline=10.0)
def run_wordy() -> None:
    """Run a command that writes without an end."""
    run_command(Executable("/usr/bin/yes"), [], seconds=8.0)


@operation(deadline=5.0)
def large() -> bytes:
    """Return more than a reply can carry."""
    return bytes(17 * 2**20)
