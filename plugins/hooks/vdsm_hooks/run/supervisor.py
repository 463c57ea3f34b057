"""Run one hook script, and end every process that it leaves. A program of its own, for Python alone.

It is started with one argument, the number of a descriptor that has the request as JSON:

- `script`: path of the executable; `environment`: all of its environment
- `document`: text of the document, or null; `variable`: the environment variable that gets its path
- `flags`: text of the file of launch flags, or null; `flags_variable`: as above
- `folder`: where a folder of its own is made for its files
- `uid`, `gid`: the account that the script runs as, or null for this one
- `seconds`: time limit of the script
- `processes`, `file_size` (bytes), `memory` (bytes), `cpu` (seconds): its limits

It writes one JSON object to standard output: `code` or `signal`, `reason` if the script was not run or was
ended, `stderr` and `document` in base64, `stderr_size` in bytes, `fault` if the document cannot be
read, `flags`.

Every process of the script is a child of this one in the end, a daemon too: this process is a child
subreaper (prctl(2)). The files of the script are written and read by children that run as its account.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import resource
import secrets
import select
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

#: linux/prctl.h
PR_SET_NO_NEW_PRIVS: Final = 38
PR_SET_CHILD_SUBREAPER: Final = 36
#: Bytes of standard error that are kept, its beginning, and bytes after which the script is ended.
KEPT_STDERR: Final = 8_192
MAX_STDERR: Final = 16 * 2**20
#: Bytes of a document that are read back.
MAX_DOCUMENT: Final = 4 * 2**20
#: Bytes of the file of launch flags: one decimal number.
MAX_FLAGS: Final = 32
#: Processes that the kernel allows beyond the limit: so many that the count from outside finds the excess.
SPARE: Final = 8
#: Seconds between two counts of the processes of a script.
INTERVAL: Final = 0.02
#: Seconds for a child that writes or reads the files, and for the end of all processes.
PATIENCE: Final = 10.0
DOCUMENT: Final = "document"
FLAGS: Final = "launchflags"


def main(descriptor: int) -> int:
    """Carry out the request of a descriptor."""
    with os.fdopen(descriptor, "rb") as file:
        request = json.loads(file.read())
    libc = ctypes.CDLL(None, use_errno=True)
    for option in (PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS):
        if libc.prctl(option, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
    place = Path(request["folder"]) / f"vdsm-hook-{secrets.token_hex(8)}"
    result: dict[str, Any] = {}
    if (os.geteuid() if request["uid"] is None else request["uid"]) == 0:
        # The kernel does not limit the number of root's processes: one script could take the whole host.
        sys.stdout.write(json.dumps({"reason": "hook scripts are not run as root"}))
        return 0
    try:
        fault = in_child(request, lambda: prepare(place, request))
        if fault:
            result["reason"] = f"its files cannot be written: {fault}"
        else:
            result |= run(request, place)
            left = end_all()
            result |= json.loads(in_child(request, lambda: collect(place, request)) or "{}")
            if left:
                result["reason"] = f"{left} of its processes cannot be ended"
    finally:
        in_child(request, lambda: remove(place))
    sys.stdout.write(json.dumps(result))
    sys.stdout.flush()
    return 0


def become(request: dict[str, Any]) -> None:
    """Change to the account of the script, for good."""
    if request["uid"] is not None:
        os.setgroups([])
        os.setresgid(request["gid"], request["gid"], request["gid"])
        os.setresuid(request["uid"], request["uid"], request["uid"])


def in_child(request: dict[str, Any], work: Callable[[], str]) -> str:
    """Do some work as the account of the script, and return its text."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            become(request)
            with os.fdopen(writer, "wb") as pipe:
                try:
                    pipe.write(work().encode())
                except OSError as error:
                    pipe.write(str(error.strerror or error).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    data = bytearray()
    deadline = time.monotonic() + PATIENCE
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if not (chunk := pipe.read(65_536)):
                break
            data += chunk
        else:
            os.kill(pid, signal.SIGKILL)
            data = bytearray(b"it took too long")
    os.waitpid(pid, 0)
    return data.decode("utf-8", "replace")


def prepare(place: Path, request: dict[str, Any]) -> str:
    """Write the files of the script."""
    os.umask(0o077)
    place.mkdir(mode=0o700)
    for name, key in ((DOCUMENT, "document"), (FLAGS, "flags")):
        if request[key] is not None:
            (place / name).write_bytes(request[key].encode())
    return ""


def collect(place: Path, request: dict[str, Any]) -> str:
    """Read back the files of the script, as JSON."""
    found: dict[str, str] = {}
    if request["document"] is not None:
        try:
            found["document"] = base64.b64encode(read(place / DOCUMENT, MAX_DOCUMENT)).decode()
        except OSError as error:
            found["fault"] = error.strerror or str(error)
    if request["flags"] is not None:
        try:
            found["flags"] = read(place / FLAGS, MAX_FLAGS).decode("ascii", "replace")
        except OSError as error:
            found["fault"] = f"{FLAGS}: {error.strerror or error}"
    return json.dumps(found)


def read(path: Path, limit: int) -> bytes:
    """Read a regular file, which the script may have replaced by anything.

    :raises OSError: it is none, or is too large
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no regular file any more")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(0, f"it has more than {limit} bytes")
    return data


def remove(place: Path) -> str:
    """Remove the files of the script."""

    def unlock(_: Any, path: str, __: Any) -> None:
        for locked in (Path(path).parent, Path(path)):
            if locked.is_relative_to(place) and locked.is_dir() and not locked.is_symlink():
                locked.chmod(0o700)

    for _ in range(2):
        shutil.rmtree(place, onerror=unlock)
    return ""


def run(request: dict[str, Any], place: Path) -> dict[str, Any]:
    """Run the script, and return how it ended."""
    failure, report = os.pipe()
    errors, diagnostics = os.pipe()
    pid = os.fork()
    if pid == 0:
        execute(request, place, report, diagnostics)
    os.close(report)
    os.close(diagnostics)
    try:
        with os.fdopen(failure, "rb") as pipe:
            reason = pipe.read(1_024).decode("utf-8", "replace")
        if reason:
            os.waitpid(pid, 0)
            return {"reason": reason}
        return watch(pid, errors, request)
    finally:
        os.close(errors)


def execute(request: dict[str, Any], place: Path, report: int, diagnostics: int) -> NoReturn:
    """Become the script. Does not return; a reason why it cannot goes to `report`."""
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor, source in ((0, null), (1, null), (2, diagnostics)):
            os.dup2(source, descriptor)
        for number in signal.valid_signals():
            if signal.getsignal(number) == signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        os.umask(0o022)
        os.chdir("/")
        limit(request)
        become(request)
        environment = dict(request["environment"])
        environment["TMPDIR"] = environment["HOME"] = str(place)
        if request["document"] is not None:
            environment[request["variable"]] = str(place / DOCUMENT)
        if request["flags"] is not None:
            environment[request["flags_variable"]] = str(place / FLAGS)
        os.execve(request["script"], [request["script"]], environment)  # noqa: S606 - that is its purpose
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error, OSError) and error.errno == 8:
            reason = "it has no line '#!' and is no program"
        os.write(report, reason.encode())
    except BaseException as error:  # noqa: BLE001 - this process is a copy of the other one
        os.write(report, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(127)


def limit(request: dict[str, Any]) -> None:
    """Set the resource limits of this process."""
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: request["file_size"],
        resource.RLIMIT_AS: request["memory"],
        resource.RLIMIT_CPU: request["cpu"],
    }
    # The kernel's own limit: counting processes from outside is too slow for a script that only forks. It
    # counts all threads of the account. The kernel does not apply it to root, as whom no script runs.
    uid = os.geteuid() if request["uid"] is None else request["uid"]
    limits[resource.RLIMIT_NPROC] = tasks_of(uid) + request["processes"] + SPARE
    for kind, wanted in limits.items():
        _, hard = resource.getrlimit(kind)
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))


def tasks_of(uid: int) -> int:
    """Return the number of threads that an account has now."""
    count = 0
    for name in os.listdir("/proc"):  # noqa: PTH208 - often, and fast
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:  # noqa: PTH116 - as above
                count += len(os.listdir(f"/proc/{name}/task"))  # noqa: PTH208 - as above
        except OSError:
            continue
    return count


def watch(pid: int, errors: int, request: dict[str, Any]) -> dict[str, Any]:
    """Wait for the end of the script; end it if it exceeds a limit."""
    kept, size, reason = bytearray(), 0, ""
    deadline = time.monotonic() + request["seconds"]
    poll = select.poll()
    process = os.pidfd_open(pid)
    try:
        poll.register(process, select.POLLIN)
        poll.register(errors, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(INTERVAL * 1_000)}
            if errors in ready:
                chunk = os.read(errors, 65_536)
                size += len(chunk)
                kept += chunk[: KEPT_STDERR - len(kept)]
                if not chunk:
                    poll.unregister(errors)
            if process in ready and errors not in ready:
                break
            if size > MAX_STDERR:
                reason = f"it wrote more than {MAX_STDERR} bytes to standard error"
            elif time.monotonic() > deadline:
                reason = f"it took longer than {request['seconds']:g} s"
            elif len(descendants(os.getpid(), request["processes"] + 1)) > request["processes"]:
                reason = f"it started more than {request['processes']} processes"
            if reason:
                end_all(keep=pid)
                break
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(process)
    code = os.waitstatus_to_exitcode(status)
    found: dict[str, Any] = {"signal": -code} if code < 0 else {"code": code}
    found |= {"stderr": base64.b64encode(kept).decode(), "stderr_size": size}
    return found | ({"reason": reason} if reason else {})


def descendants(pid: int, most: int = 1_000_000) -> list[int]:
    """The processes below one, as far as they are visible."""
    found: list[int] = []
    left = [pid]
    while left and len(found) <= most:
        parent = left.pop()
        try:
            threads = os.listdir(f"/proc/{parent}/task")  # noqa: PTH208 - often, and fast
        except OSError:
            continue
        for thread in threads:
            try:
                with open(f"/proc/{parent}/task/{thread}/children", encoding="ascii") as file:  # noqa: PTH123
                    children = [int(word) for word in file.read().split()]
            except OSError:
                continue
            found += children
            left += children
    return found


def end_all(keep: int = 0) -> int:
    """Kill every process below this one, and return how many are left.

    They are stopped first, until no new one appears: a stopped process cannot start another.

    :param keep: a process that is killed, too, but whose status is left to the caller
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        stopped: set[int] = set()
        while new := set(descendants(os.getpid())) - stopped:
            for pid in new:
                send(pid, signal.SIGSTOP)
            stopped |= new
            if time.monotonic() > deadline:
                break
        for pid in stopped:
            send(pid, signal.SIGKILL)
        reap(keep)
        if not set(descendants(os.getpid())) - {keep}:
            return 0
        time.sleep(0.005)
    return len(descendants(os.getpid()))


def reap(keep: int) -> None:
    """Take the status of every child that has ended, but one."""
    for pid in descendants(os.getpid()):
        if pid != keep:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def send(pid: int, number: int) -> None:
    """Send a signal to a process, if it is still there."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
