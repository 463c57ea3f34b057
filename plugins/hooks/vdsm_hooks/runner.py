"""Running the scripts of a point, one after the other, with VDSM's meaning of exit codes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from vdsm_core.errors import VdsmError
from vdsm_hooks import documents, environment
from vdsm_hooks.documents import BadDocument
from vdsm_hooks.errors import HookScriptFailed
from vdsm_hooks.executors import Executor
from vdsm_hooks.folder import ScriptFile, ScriptFolders
from vdsm_hooks.journal import NOT_RUN, HookRun, Journal
from vdsm_hooks.points import Point
from vdsm_hooks.properties import Definitions
from vdsm_hooks.run.execution import Outcome, Script
from vdsm_hooks.run.supervisor import KEPT_STDERR

log = logging.getLogger(__name__)

#: The exit code after which later scripts are not run.
_STOP: Final = 2
#: Characters of standard error in an error.
_SHOWN: Final = 500
_NONE: Final[Mapping[str, str]] = {}


class Runner:
    """Runs the scripts of points.

    :param seconds: returns the seconds that the scripts of a point may take together
    """

    def __init__(
        self,
        folders: ScriptFolders,
        executor: Executor,
        journal: Journal,
        definitions: Definitions,
        seconds: Callable[[Point], float],
    ) -> None:
        self._folders = folders
        self._executor = executor
        self._journal = journal
        self._definitions = definitions
        self._seconds = seconds
        self._lock = threading.Lock()
        #: Launch flags that scripts have changed, by machine.
        self._flags: dict[str, int] = {}

    def run(
        self,
        point: Point,
        document: Any = None,
        *,
        vm_id: str = "",
        custom: Mapping[str, str] = _NONE,
        device_custom: Mapping[str, str] = _NONE,
        params: Mapping[str, str] = _NONE,
        more: Mapping[str, str] = _NONE,
    ) -> None:
        """Run the scripts of a point, and edit the document in place if what they leave is used.

        :param params: of the call; they are variables, weaker than custom properties
        :param more: further variables, stronger than custom properties
        :raises HookScriptFailed: a script failed, or left what is no document
        """
        scripts = self._folders.scripts(point.name)
        if not scripts:
            return
        try:
            variables = environment.of_call(
                params=params,
                device_custom=_chosen(device_custom, self._definitions.device_names),
                custom=_chosen(custom, self._definitions.vm_names),
                vm_id=vm_id,
            )
        except ValueError as error:
            raise HookScriptFailed(point=point.name, script=scripts[0].name, reason=str(error)) from None
        call = _Call(point, vm_id, {**variables, **more}, documents.to_text(point.kind, document))
        call.deadline = time.monotonic() + self._seconds(point)
        if point.flags:
            with self._lock:
                call.flags = self._flags.get(vm_id, 0)
        failed: HookScriptFailed | None = None
        for script in scripts:
            fault, last = self._one(call, script)
            if fault:
                failed = HookScriptFailed(point=point.name, script=script.name, reason=fault)
            if last:
                break
        if failed is not None:
            raise failed
        self._take_over(call, document)

    def taken_flags(self, vm_id: str) -> int | None:
        """Return and forget the launch flags that scripts have set for a machine; None if they set none."""
        with self._lock:
            return self._flags.pop(vm_id, None)

    def _one(self, call: _Call, script: ScriptFile) -> tuple[str, bool]:
        """Run one script; return why it failed, empty if it did not, and whether later ones are not run."""
        number, started, began = self._journal.next_number(), time.time(), time.monotonic()
        outcome = self._outcome(call, script)
        before = call.text
        # Also of a script that has failed: later ones see its edits, as in VDSM.
        unusable = call.take(script.name, outcome)
        fault = _fault(call.point, script, outcome) or unusable
        run = HookRun(
            number=number,
            started=round(started, 3),
            point=call.point.name,
            script=script.name,
            vm_id=call.vm_id,
            sha256=self._folders.checksum(script),
            duration=round(time.monotonic() - began, 4),
            exit_code=NOT_RUN if outcome.code is None else outcome.code,
            error=fault,
            stderr=documents.without_secrets(outcome.stderr)[:KEPT_STDERR],
            difference=documents.difference(before, call.text),
        )
        self._journal.add(run)
        level = logging.WARNING if fault else logging.INFO
        log.log(
            level,
            "Hook script %s/%s%s: %s in %.3f s",
            run.point,
            run.script,
            f" of machine {run.vm_id}" * bool(run.vm_id),
            fault or "done",
            run.duration,
        )
        return fault, outcome.code == _STOP

    def _outcome(self, call: _Call, script: ScriptFile) -> Outcome:
        seconds = call.deadline - time.monotonic()
        if script.fault:
            return Outcome(reason=script.fault)
        if seconds <= 0:
            return Outcome(reason="it was not run: earlier scripts have taken the time of this point")
        try:
            return self._executor.run(
                Script(
                    path=script.path,
                    environment={**environment.base(), **call.variables},
                    variable=call.point.variable,
                    document=call.text,
                    flags=call.flags,
                    seconds=seconds,
                )
            )
        except VdsmError as error:
            return Outcome(reason=str(error))

    def _take_over(self, call: _Call, document: Any) -> None:
        point = call.point
        if call.flags is not None:
            with self._lock:
                self._flags[call.vm_id] = call.flags
        if point.kind == "empty" or not (point.read_back or point.kind == "json"):
            return
        try:
            read = documents.read(point.kind, call.text.encode("utf-8", "surrogateescape"))
            if point.read_back:
                documents.replace(document, read)
        except BadDocument as error:
            _fail(point, call.editor, str(error))


class _Call:
    """One call of a point: the document as the scripts have left it so far."""

    def __init__(self, point: Point, vm_id: str, variables: dict[str, str], text: str) -> None:
        self.point = point
        self.vm_id = vm_id
        self.variables = variables
        self.text = text
        self.flags: int | None = None
        self.deadline = 0.0
        #: The last script that has changed the document.
        self.editor = ""

    def take(self, script: str, outcome: Outcome) -> str:
        """Take over what a script has left; return why it cannot be used, empty if it can."""
        if outcome.fault:
            return f"its document cannot be read back: {outcome.fault}"
        if outcome.document is not None:
            # Bytes that are no UTF-8 are kept for the next script, which may mend them.
            text = outcome.document.decode("utf-8", "surrogateescape")
            if text != self.text:
                self.text, self.editor = text, script
        if self.flags is not None and outcome.flags:
            try:
                self.flags = int(outcome.flags)
            except ValueError:
                return "it left launch flags that are no number"
            if self.flags not in (0, 1):
                return f"it left the launch flags {self.flags}: 0 and 1 (start paused) are supported"
        return ""


def _chosen(custom: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    return {name: value for name, value in custom.items() if name in names}


def _fault(point: Point, script: ScriptFile, outcome: Outcome) -> str:
    """Return why a run counts as failed; empty if it does not."""
    if outcome.reason:
        return outcome.reason
    if outcome.code == 0:
        return ""
    said = outcome.stderr.strip()[-_SHOWN:]
    words = f": {said}" if said else ""
    if outcome.code is None or outcome.code < 0:
        return f"it was ended by signal {-(outcome.code or 0)}{words}"
    if outcome.code > _STOP:
        log.warning("Hook script %s/%s: unexpected exit code %d", point.name, script.name, outcome.code)
    return f"it ended with code {outcome.code}{words}"


def _fail(point: Point, script: str, reason: str) -> NoReturn:
    raise HookScriptFailed(point=point.name, script=script, reason=reason)
