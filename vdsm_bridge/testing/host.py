"""A whole host within the test process, on libvirt's own test driver, with its state in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from vdsm_bridge.base import Base
from vdsm_bridge.call.context import INTERNAL, Context, Identity
from vdsm_bridge.daemon.composition import Host
from vdsm_bridge.testing.sample import Sample
from vdsm_core import config as configuration
from vdsm_core.deprecated import warn_of_attribute
from vdsm_core.plugins import BINDINGS, GROUPS, HOOKS, PRIVILEGED, VERBS, Found, discover
from vdsm_core.state import MEMORY


def found(group: str, name: str, loaded: Any) -> Found:
    """Return the result of a discovery for a plugin that is only an object of the test."""
    return Found(group=group, name=name, target="test", distribution="test", version="0", loaded=loaded)


class TestHost(AbstractContextManager["TestHost"]):
    """A started host. By default it has the `base` verbs and `Sample`.

    ::

        with TestHost(verbs={"lights": Lights}) as host:
            host.call("Light.dim", lightID="...", percent=10)

    :param verbs: features by name, added to the default ones
    :param bindings: bindings by name
    :param hooks: hook implementations by name
    :param privileged: modules of operations by name; `daemon.helper_socket` in `config` names their helper
    :param installed: also use the plugins that are installed here
    :param config: tables of the configuration, over the defaults of a test
    :param connect: connects to the hypervisor
    :param clock: the clock of features for durations; see `Clock`
    """

    __test__ = False  # the name begins like a test's

    def __init__(
        self,
        *,
        verbs: Mapping[str, Any] | None = None,
        bindings: Mapping[str, Any] | None = None,
        hooks: Mapping[str, Any] | None = None,
        privileged: Mapping[str, Any] | None = None,
        installed: bool = False,
        config: dict[str, Any] | None = None,
        connect: Callable[[str], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        given = {
            VERBS: {"base": Base, "sample": Sample, **(verbs or {})},
            BINDINGS: bindings or {},
            HOOKS: hooks or {},
            PRIVILEGED: privileged or {},
        }
        self._plugins = {
            group: [found(group, name, loaded) for name, loaded in given[group].items()] for group in GROUPS
        }
        self._installed = installed
        document = {
            "daemon": {"state_dir": MEMORY, "run_dir": "", "grace": 10.0},
            # Tests call over loopback without a token; by default, a daemon refuses that.
            "access": {"loopback": "admin"},
            "hypervisor": {"uri": "test:///default", "sample_interval": 0.2},
        }
        #: The daemon's composition of all parts; `host.runtime` is what features get.
        self.host = Host(
            configuration.merge([("test defaults", document), ("test", config or {})]),
            discover=self._discover,
            connect=connect,
            clock=clock,
        )
        if "helper_socket" not in (config or {}).get("daemon", {}):
            # No test uses the helper of this machine.
            self.host.runtime.privileged.use("")

    def __enter__(self) -> Self:
        self.host.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.host.stop()

    @property
    def server(self) -> Host:
        """Deprecated: `host`, as earlier releases named it."""
        warn_of_attribute("TestHost.server")
        return self.host

    @property
    def bridge(self) -> Any:
        """The bridge of this host."""
        return self.host.bridge

    def call(
        self, verb: str, /, *, identity: Identity = INTERNAL, request_id: str = "", **arguments: Any
    ) -> Any:
        """Call a verb as the daemon itself, with arguments by wire name."""
        context = Context(identity=identity, binding="test", request_id=request_id)
        return self.host.bridge.call(verb, arguments, context)

    def _discover(self, group: str) -> list[Found]:
        mine = self._plugins[group]
        names = {plugin.name for plugin in mine}
        theirs = discover(group) if self._installed else []
        return [*mine, *(plugin for plugin in theirs if plugin.name not in names)]
