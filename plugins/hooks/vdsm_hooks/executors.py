"""The ways to run a script: as the daemon's own user, or by the privileged helper."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Protocol

from vdsm_bridge.plugins.feature import Runtime
from vdsm_core.errors import OperationFailed
from vdsm_hooks import environment, privileged
from vdsm_hooks.options import HookScriptOptions
from vdsm_hooks.run import execution
from vdsm_hooks.run.execution import Limits, Outcome, Script


class Executor(Protocol):
    """Runs scripts."""

    def run(self, script: Script) -> Outcome:
        """Run a script, and return how it ended.

        :raises VdsmError: it cannot be run
        """


class OwnUser:
    """Runs scripts as the user of this process. For development."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def run(self, script: Script) -> Outcome:
        """Run a script.

        :raises OperationFailed: it cannot be watched
        """
        return execution.execute(script, self._limits, None)


class ByHelper:
    """Runs scripts as the account of the helper's configuration.

    :param folder: the folder of all points
    """

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self._privileged = runtime.privileged
        self._folder = folder

    def run(self, script: Script) -> Outcome:
        """Run a script.

        :raises OperationFailed: the helper refuses it
        :raises HelperUnavailable: there is no helper
        """
        document = None if script.document is None else zlib.compress(script.document.encode())
        if document is not None and len(document) > privileged.MAX_COMPRESSED:
            raise OperationFailed(
                reason=f"the document of hook script {script.path} is larger than the helper takes: "
                f"{len(document)} bytes compressed, at most {privileged.MAX_COMPRESSED}"
            )
        point, name = script.path.parts[-2:]
        # The helper adds its own values of these, and takes none from its caller.
        own = environment.base()
        order = privileged.Order(
            folder=str(self._folder),
            point=point,
            script=name,
            environment={each: value for each, value in script.environment.items() if each not in own},
            json="json" in script.variable,
            document=document,
            flags=script.flags,
            seconds=script.seconds,
        )
        return self._privileged.run(privileged.run_script, order)


def executor(runtime: Runtime, options: HookScriptOptions) -> Executor:
    """Return the way that the configuration chooses."""
    return OwnUser(options.limits()) if options.as_daemon else ByHelper(runtime, Path(options.folder))
