"""Commands that an operation runs: an absolute executable, a list of arguments, no shell."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Final

from vdsm_core.errors import OperationFailed
from vdsm_core.privileged.capabilities import keep_only_effective

#: All that a command finds in its environment.
_ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
#: Bytes of output that are taken.
MAX_OUTPUT: Final = 8 * 2**20
#: Characters of standard error that an error repeats.
_SHOWN: Final = 2_000


class CommandFailed(OperationFailed):
    """A command of a privileged operation failed, or was ended because it took too long or wrote too much.

    Facts: `command`, `code` (negative: the signal that ended it), `reason`.
    """

    slug = "command-failed"
    template = "The command {command} failed with code {code}: {reason}"


class Executable:
    """A program that operations run.

    :param path: absolute
    """

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        if not PurePosixPath(path).is_absolute():
            raise ValueError(f"an executable is an absolute path, and not '{path}'")
        self.path = path

    def __repr__(self) -> str:
        return f"Executable({self.path!r})"


def run_command(
    executable: Executable,
    options: Sequence[str],
    operands: Sequence[str] = (),
    *,
    seconds: float,
    pass_fds: Sequence[int] = (),
) -> bytes:
    """Run a program and return its standard output.

    It has the capabilities of the operation and can raise no other; its group is killed at the deadline.

    :param options: arguments that the operation has written itself
    :param operands: arguments that came from the caller; they stand behind `--`
    :param seconds: what it may take
    :param pass_fds: descriptors that it inherits
    :raises CommandFailed: it failed, took too long, or wrote more than `MAX_OUTPUT` bytes
    """
    words = [executable.path, *options, *(("--", *operands) if operands else ())]
    outcome: Future[bytes] = Future()

    def run() -> None:
        # A thread of its own: what it gives up here, the thread of the operation still needs.
        try:
            keep_only_effective()
            outcome.set_result(_run(words, seconds, pass_fds))
        except BaseException as error:  # noqa: BLE001 - handed to the operation
            outcome.set_exception(error)

    thread = threading.Thread(target=run, name=f"command {executable.path}")
    thread.start()
    thread.join()
    return outcome.result()


def _run(words: list[str], seconds: float, pass_fds: Sequence[int]) -> bytes:
    try:
        process = subprocess.Popen(  # noqa: S603 - a list of arguments, an absolute path
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
            cwd="/",
            pass_fds=pass_fds,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        # ValueError: an argument with a NUL.
        raise CommandFailed(command=words[0], code=-1, reason=str(error)) from None
    watch = _Watch(process)
    timer = threading.Timer(seconds, watch.end, [f"it took longer than {seconds:g} s"])
    timer.start()
    standard, diagnostics = process.stdout, process.stderr
    assert standard is not None
    assert diagnostics is not None
    errors: list[bytes] = []
    reader = threading.Thread(target=lambda: errors.append(watch.read(diagnostics.fileno())))
    try:
        reader.start()
        output = watch.read(standard.fileno())
        reader.join()
        code = process.wait()
    finally:
        timer.cancel()
        watch.end("")
        standard.close()
        diagnostics.close()
    if code or watch.reason:
        said = errors[0].decode("utf-8", "replace").strip()[-_SHOWN:]
        raise CommandFailed(command=words[0], code=code, reason=watch.reason or said or "it said nothing")
    return output


class _Watch:
    """Ends the group of a command, at most once with a reason."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.reason = ""

    def read(self, descriptor: int) -> bytes:
        """Read a pipe to its end; end the command if that is too much."""
        data = bytearray()
        while chunk := os.read(descriptor, 65_536):
            data += chunk
            if len(data) > MAX_OUTPUT:
                self.end(f"it wrote more than {MAX_OUTPUT} bytes")
                break
        return bytes(data)

    def end(self, reason: str) -> None:
        """Kill what is left of the group."""
        self.reason = self.reason or reason
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
