"""The call of the program that runs one hook script, from the daemon or from the privileged helper."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from vdsm_core.errors import OperationFailed
from vdsm_core.privileged import CommandFailed, Executable, run_command
from vdsm_hooks.run import supervisor

#: Seconds beyond the script's own time: the supervisor ends processes, and reads and removes files.
_MARGIN: Final = 45.0
#: Where each script gets a folder of its own, with a random name.
_FOLDER: Final = Path("/tmp")  # noqa: S108 - as above
#: The variable with the path of the file of launch flags, for the module `hooking`.
FLAGS_VARIABLE: Final = "_hook_launchflags"


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of one script: processes at a time, sizes in bytes, processor time of each in seconds."""

    processes: Annotated[int, Meta(ge=1, le=10_000)]
    file_size: Annotated[int, Meta(ge=1, le=2**40)]
    memory: Annotated[int, Meta(ge=1, le=2**40)]
    cpu: Annotated[int, Meta(ge=1, le=3_600)]


class Account(msgspec.Struct, frozen=True):
    """The user and the group that a script runs as, by number."""

    uid: int
    gid: int


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a script.

    :ivar path: of the executable
    :ivar environment: all of it, but for the paths of files
    :ivar variable: the variable that gets the path of the document
    :ivar document: its text; None for a point without one
    :ivar flags: launch flags; None at points that may not change them
    :ivar seconds: its time limit
    """

    path: Path
    environment: dict[str, str]
    variable: str
    document: str | None
    flags: int | None
    seconds: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a script ended.

    :ivar code: its exit code; negative: the number of the signal that ended it; None if it was not run
    :ivar reason: why it was not run, or was ended; empty otherwise
    :ivar stderr: the beginning of its standard error
    :ivar stderr_size: bytes of all of it
    :ivar document: the document as it was left; None if it cannot be read
    :ivar fault: why the document cannot be read
    :ivar flags: launch flags as they were left
    """

    code: int | None = None
    reason: str = ""
    stderr: str = ""
    stderr_size: int = 0
    document: bytes | None = None
    fault: str = ""
    flags: str = ""


def execute(script: Script, limits: Limits, account: Account | None, folder: Path = _FOLDER) -> Outcome:
    """Run a script, and wait for the end of all of its processes.

    :param account: what it runs as; None: as this process, which must not be root
    :param folder: where a folder of its own is made for its files
    :raises OperationFailed: it cannot be watched
    """
    request = {
        "script": str(script.path),
        "environment": script.environment,
        "variable": script.variable,
        "document": script.document,
        "flags": None if script.flags is None else str(script.flags),
        "flags_variable": FLAGS_VARIABLE,
        "folder": str(folder),
        "uid": None if account is None else account.uid,
        "gid": None if account is None else account.gid,
        "seconds": script.seconds,
        **msgspec.structs.asdict(limits),
    }
    descriptor = os.memfd_create("hook")
    try:
        os.write(descriptor, json.dumps(request).encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        output = run_command(
            Executable(sys.executable),
            ["-I", "-S", str(supervisor.__file__), str(descriptor)],
            seconds=script.seconds + _MARGIN,
            pass_fds=(descriptor,),
        )
    except CommandFailed as error:
        raise OperationFailed(reason=f"the hook script {script.path} cannot be watched: {error}") from None
    finally:
        os.close(descriptor)
    return _outcome(json.loads(output))


def _outcome(found: dict[str, Any]) -> Outcome:
    document = found.get("document")
    return Outcome(
        code=-found["signal"] if "signal" in found else found.get("code"),
        reason=found.get("reason", ""),
        stderr=base64.b64decode(found.get("stderr", "")).decode("utf-8", "replace"),
        stderr_size=found.get("stderr_size", 0),
        document=None if document is None else base64.b64decode(document),
        fault=found.get("fault", ""),
        flags=found.get("flags", ""),
    )
