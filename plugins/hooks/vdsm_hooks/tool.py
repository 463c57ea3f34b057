"""`vdsm-tool hook ...`: list installed scripts, and run one against a document of a file."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from vdsm_core import config as configuration
from vdsm_core.errors import NotFound, OperationFailed
from vdsm_hooks import documents, environment
from vdsm_hooks.documents import BadDocument
from vdsm_hooks.folder import ScriptFolders, check_owned_by_root
from vdsm_hooks.options import HookScriptOptions
from vdsm_hooks.points import POINTS, Point
from vdsm_hooks.run import execution
from vdsm_hooks.run.execution import Account, Outcome, Script

_DONE: Final = 0
_FAILED: Final = 1


class NoSuchPoint(NotFound):
    """There is no hook point of this name. Facts: `point`."""

    slug = "no-such-hook-point"
    template = "There is no hook point '{point}'"


def add(commands: Any, file: argparse.ArgumentParser) -> None:
    """Add the commands to the parser of `vdsm-tool`.

    :param commands: the object that `add_subparsers` has returned
    :param file: the parent that has `--config`
    """
    hook = commands.add_parser("hook", help="list hook scripts, or run one against a document")
    words = hook.add_subparsers(required=True, metavar="COMMAND")
    shown = words.add_parser("list", help="print every script with its checksum", parents=[file])
    shown.set_defaults(run=_list)
    test = words.add_parser(
        "test",
        help="run a script against a document, and print what it would change",
        description="Run a script as this user, against a document of a file, and print its result and the "
        "difference that it makes. Nothing else is changed. As root, a script has to be root's own.",
        parents=[file],
    )
    test.add_argument("point", metavar="POINT", help="the hook point, as before_vm_start")
    test.add_argument("--script", type=Path, required=True, metavar="FILE", help="the script")
    test.add_argument(
        "--vm",
        type=Path,
        required=True,
        metavar="FILE",
        help="the document: XML, or JSON; '-': standard input",
    )
    test.add_argument(
        "--property",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a custom property; may be repeated",
    )
    test.add_argument("--id", default="", metavar="ID", help="the id of the machine (vmId)")
    test.add_argument("--seconds", type=float, default=25.0, metavar="S", help="time limit; default: 25")
    test.set_defaults(run=_test)


def _options(options: argparse.Namespace) -> HookScriptOptions:
    config = configuration.load(options.config)
    found: HookScriptOptions = config.options("hooks", HookScriptOptions)
    return found


def _list(options: argparse.Namespace) -> int:
    folders = ScriptFolders(Path(_options(options).folder))
    for name in POINTS:
        for script in folders.scripts(name):
            sys.stdout.write(f"{name}/{script.name} {script.fault or folders.checksum(script)}\n")
    return _DONE


def _test(options: argparse.Namespace) -> int:
    point = POINTS.get(options.point)
    if point is None:
        raise NoSuchPoint(point=options.point)
    text = sys.stdin.read() if str(options.vm) == "-" else options.vm.read_text("utf-8")
    try:
        if point.kind != "empty":
            documents.read(point.kind, text.encode())
    except BadDocument as error:
        raise OperationFailed(
            reason=f"{options.vm} is no document of {point.name}: {str(error).removeprefix('it ')}"
        ) from None
    path = options.script.absolute()
    if os.geteuid() == 0:
        path = check_owned_by_root(path, path.parent)
    pairs = [each.partition("=") for each in options.property]
    try:
        variables = environment.of_call(
            params={}, device_custom={}, custom={name: value for name, _, value in pairs}, vm_id=options.id
        )
    except ValueError as error:
        raise OperationFailed(reason=str(error)) from None
    script = Script(
        path=path,
        environment={**environment.base(), **variables},
        variable=point.variable,
        document="" if point.kind == "empty" else text,
        flags=0 if point.flags else None,
        seconds=options.seconds,
    )
    table = _options(options)
    began = time.monotonic()
    outcome = execution.execute(script, table.limits(), _account(table))
    return _print(point, text, outcome, time.monotonic() - began)


def _account(options: HookScriptOptions) -> Account | None:
    """The account of scripts, for root; any other user runs them as itself."""
    if os.geteuid() != 0 or options.as_daemon:
        return None
    import pwd  # noqa: PLC0415 - for root alone

    try:
        found = pwd.getpwnam(options.user)
    except KeyError:
        raise OperationFailed(
            reason=f"there is no account '{options.user}': create it, or set user in [plugin.hooks]"
        ) from None
    return Account(found.pw_uid, found.pw_gid)


def _print(point: Point, before: str, outcome: Outcome, seconds: float) -> int:
    write: Callable[[str], Any] = sys.stdout.write
    ended = outcome.reason or (
        f"exit code {outcome.code}"
        if outcome.code is not None and outcome.code >= 0
        else f"ended by signal {-(outcome.code or 0)}"
    )
    write(f"{ended}, {seconds:.3f} s\n")
    if outcome.stderr:
        write(f"--- standard error ({outcome.stderr_size} bytes)\n{outcome.stderr.rstrip()}\n")
    if point.flags and outcome.flags not in ("", "0"):
        write(f"--- launch flags: {outcome.flags}\n")
    fault = outcome.fault
    if outcome.document is not None and not fault:
        after = outcome.document.decode("utf-8", "replace")
        write(
            documents.difference(before, after) + "\n" if after != before else "the document is unchanged\n"
        )
        try:
            if point.read_back:
                documents.read(point.kind, outcome.document)
        except BadDocument as error:
            fault = str(error)
    if fault:
        write(f"the document cannot be used: {fault}\n")
    return _DONE if outcome.code == 0 and not fault and not outcome.reason else _FAILED
