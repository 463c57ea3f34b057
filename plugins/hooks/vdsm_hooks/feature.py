"""The verb of this plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from vdsm_bridge import Feature, Namespace, query
from vdsm_hooks.journal import HookRun, Journal
from vdsm_hooks.options import HookScriptOptions

Text = Annotated[str, Meta(max_length=64)]


class Host(Namespace, name="Host", plural="host"):
    """This host: the runs of its hook scripts."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @query(access="admin", since="1.0")
    def get_hook_runs(
        self, point: Text = "", vm_id: Text = "", limit: Annotated[int, Meta(ge=1, le=10_000)] = 100
    ) -> list[HookRun]:
        """Return the last runs of hook scripts, the newest first.

        :param point: of this hook point only, as `before_vm_start`; empty: of all
        :param vm_id: of this machine only; empty: of all
        :param limit: maximum number of runs
        """
        return self._journal.runs(point, vm_id.lower(), limit)


class HookScripts(Feature):
    """Shows the runs of hook scripts."""

    Config = HookScriptOptions

    def namespaces(self) -> Sequence[Namespace]:
        """Return the namespace with the verb."""
        return [Host(self.runtime.shared.get(Journal))]
