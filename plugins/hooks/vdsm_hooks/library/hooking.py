"""Functions for hook scripts: read and write the document of a hook point, log, and refuse.

A script imports it as `hooking`: its folder is in the script's PYTHONPATH. It needs the standard library
alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from xml.dom import minidom

_DOMXML = "_hook_domxml"
_JSON = "_hook_json"
_FLAGS = "_hook_launchflags"
#: libvirt's flag VIR_DOMAIN_START_PAUSED
START_PAUSED = 1


def read_domxml() -> minidom.Document:
    """Return the XML document of the hook point."""
    data = Path(os.environ[_DOMXML]).read_bytes()
    return minidom.parseString(data)  # noqa: S318 - written by the daemon


def write_domxml(domxml: minidom.Node) -> None:
    """Write the XML document of the hook point."""
    Path(os.environ[_DOMXML]).write_text(domxml.toxml(), "utf-8")


def read_json() -> Any:
    """Return the JSON document of the hook point."""
    return json.loads(Path(os.environ[_JSON]).read_text("utf-8"))


def write_json(data: Any) -> None:
    """Write the JSON document of the hook point."""
    Path(os.environ[_JSON]).write_text(json.dumps(data), "utf-8")


def tobool(value: Any) -> bool:
    """Return a boolean from a custom property.

    true, yes, y and on, in any case, and numbers but 0 are true; everything else is false.
    """
    text = str(value).strip().lower()
    if text in ("true", "yes", "y", "on"):
        return True
    try:
        return bool(float(text))
    except ValueError:
        return False


def log(message: Any, *arguments: Any) -> None:
    """Write a line to the record of the run.

    :param arguments: of the message, as `logging` takes them
    """
    sys.stderr.write((message % arguments if arguments else str(message)) + "\n")
    sys.stderr.flush()


def exit_hook(message: Any = None, return_code: int = 2) -> NoReturn:
    """End the script. By default that fails the hook point, and later scripts are not run.

    :param message: for the record of the run, and for the error of the caller
    """
    if sys.exc_info()[0] is not None:
        traceback.print_exc()
    if message:
        sys.stderr.write(f"{message}\n")
    sys.exit(return_code)


def execCmd(  # noqa: N802 - VDSM's name
    command: Sequence[str],
    *,
    raw: bool = False,
    data: str | bytes | None = None,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    sudo: bool = False,
    **_ignored: Any,
) -> tuple[int, Any, Any]:
    """Run a command, and return its exit code, standard output and standard error.

    :param command: program and arguments; no shell
    :param raw: return bytes; otherwise lists of lines
    :param data: standard input
    :param sudo: refused: scripts cannot gain privileges
    """
    if sudo:
        raise RuntimeError("hook scripts cannot gain privileges: sudo is not available")
    text = data.encode("utf-8") if isinstance(data, str) else data
    done = subprocess.run(  # noqa: S603 - a list, no shell
        list(command), input=text, capture_output=True, cwd=cwd, env=env, check=False
    )
    if raw:
        return done.returncode, done.stdout, done.stderr
    lines = [each.decode("utf-8", "replace").splitlines() for each in (done.stdout, done.stderr)]
    return done.returncode, lines[0], lines[1]


def load_vm_launch_flags_from_file(_vm_id: Any = None) -> int:
    """Return the launch flags of the machine that is about to start.

    :param _vm_id: a script gets the file of its own machine
    """
    path = os.environ.get(_FLAGS)
    return int(Path(path).read_text("ascii")) if path else 0


def dump_vm_launch_flags_to_file(_vm_id: Any, flags: int) -> None:
    """Change the launch flags of the machine that is about to start.

    :param _vm_id: as above
    :param flags: libvirt's, 0 or `START_PAUSED`
    """
    Path(os.environ[_FLAGS]).write_text(str(int(flags)), "ascii")


def append_vm_launch_flags(vm_id: Any, flags: int) -> None:
    """Add launch flags to those of the machine that is about to start."""
    dump_vm_launch_flags_to_file(vm_id, load_vm_launch_flags_from_file(vm_id) | flags)
