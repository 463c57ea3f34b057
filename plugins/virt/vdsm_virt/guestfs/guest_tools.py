"""Run a tool of libguestfs, and end all that it has started."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from vdsm_core.errors import OperationFailed

#: Seconds between SIGTERM, upon which a tool ends its QEMU and its servers, and SIGKILL.
_GRACE: Final = 10.0
#: Lines of its messages that are kept for an error.
_KEPT_LINES: Final = 20
_MAX_LINE: Final = 4096
#: A variable that all processes of a tool inherit, by which those are found that outlive it.
_MARK: Final = "VDSM_GUESTFS_JOB"


class GuestTools:
    """Runs tools of libguestfs.

    :param folder: where each run has a folder of its own
    :param environment: variables beside the few that the tools need
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)

    @contextlib.contextmanager
    def working(self, job_id: str, program: str) -> Iterator[Path]:
        """Give a run its folder, which is removed at its end with all that is in it.

        :param job_id: a name that no other run has at the same time
        :raises OperationFailed: the program is not installed
        """
        if shutil.which(program) is None:
            raise OperationFailed(reason=f"{program} is not installed")
        # A crash may have left one.
        self.clean(job_id)
        folder = self._folder / job_id
        folder.mkdir(mode=0o700, parents=True)
        try:
            yield folder
        finally:
            self.clean(job_id)

    def clean(self, job_id: str) -> None:
        """Remove what a run has left."""
        shutil.rmtree(self._folder / job_id, ignore_errors=True)

    def run(
        self,
        folder: Path,
        command: Sequence[str],
        read: Callable[[str], None],
        stopping: Callable[[], bool],
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Run a tool until it ends.

        :param folder: from `working`
        :param command: the program and its arguments
        :param read: given each line of its output
        :param stopping: whether to stop it
        :param variables: further variables of its environment
        :raises OperationFailed: it failed, or was stopped
        """
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "LIBGUESTFS_BACKEND": "direct",
            "LIBGUESTFS_CACHEDIR": tempfile.gettempdir(),
            **(variables or {}),
            **self._environment,
            _MARK: folder.name,
        }
        process = subprocess.Popen(  # noqa: S603 - no shell; checked arguments
            ["setpriv", "--pdeathsig", "TERM", "--", *command],  # noqa: S607 - from PATH
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        last: deque[str] = deque(maxlen=_KEPT_LINES)
        try:
            for line in _lines(process.stdout, stopping):
                last.append(line)
                read(line)
        finally:
            # However it ended: nothing of it is left.
            code = _end(process)
            _end_marked(folder.name)
        if code:
            raise OperationFailed(reason=f"{command[0]} failed: {_reason(last, code)}")


def _lines(output: IO[bytes], stopping: Callable[[], bool]) -> Iterator[str]:
    """Yield the lines of a process until it ends, or until it is to stop."""
    poll = select.poll()
    poll.register(output, select.POLLIN)
    rest = b""
    while not stopping():
        if not poll.poll(500):
            continue
        data = os.read(output.fileno(), 65_536)
        if not data:
            break
        *lines, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            yield line[:_MAX_LINE].decode("utf-8", "replace")
        rest = rest[-_MAX_LINE:]


def _end(process: subprocess.Popen[bytes]) -> int:
    """End the process and those that it started; return its exit code."""
    assert process.stdout is not None
    process.stdout.close()
    for seconds, number in ((1.0, signal.SIGTERM), (_GRACE, signal.SIGKILL)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    return process.wait()


def _end_marked(job_id: str) -> None:
    """End what a tool has left: its small machine and its servers, which have sessions of their own."""
    mark = f"{_MARK}={job_id}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)


def _reason(last: deque[str], code: int) -> str:
    for line in reversed(last):
        if "error: " in line:
            return line.partition("error: ")[2][:500]
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("type") == "error":
                return str(entry.get("message"))[:500]
    return f"exit code {code}"
