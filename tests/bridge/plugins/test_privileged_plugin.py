"""Privileged operations as a kind of plugin: shown, switched, and called for the caller of a verb."""

from __future__ import annotations

import logging
import types
from collections.abc import Iterator
from typing import Any

import pytest

from tests.core.privileged import sample
from vdsm_bridge.api.declare import Namespace, query
from vdsm_bridge.call.context import Context, Identity
from vdsm_bridge.plugins.feature import Feature, Runtime
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.privileged import serving
from vdsm_core import config as configuration
from vdsm_core.privileged import HelperUnavailable, operations_of
from vdsm_core.privileged.server.registry import Registry


class Sums(Namespace):
    """Adds in the helper."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @query(since="1.0")
    def add(self, left: int) -> int:
        """Add one.

        :param left: to what
        """
        return self._runtime.privileged.run(sample.add, left)


class Adding(Feature):
    """A feature with an operation."""

    def namespaces(self) -> list[Namespace]:
        """Its one."""
        return [Sums(self.runtime)]


@pytest.fixture
def helper() -> Iterator[str]:
    """A running helper with the operations."""
    registry = Registry()
    registry.add("adding", operations_of(sample))
    with serving(registry) as address:
        yield address


def hosted(address: str, **tables: Any) -> TestHost:
    """A host with the feature and its operations."""
    config = {"daemon": {"helper_socket": address}, **tables}
    return TestHost(verbs={"adding": Adding}, privileged={"adding": sample}, config=config)


def states(host: TestHost) -> dict[str, tuple[str, str]]:
    """State and error of what the plugin has, by group, as `Host.getPlugins` returns them."""
    found = host.call("Host.getPlugins")
    return {each.group: (each.state, each.error) for each in found if each.name == "adding"}


def test_a_verb_calls_an_operation(helper: str, caplog: pytest.LogCaptureFixture) -> None:
    """The helper's log names the caller of the verb and its flow id."""
    caplog.set_level(logging.INFO, "vdsm.helper")
    with hosted(helper) as host:
        context = Context(identity=Identity("joe", "monitor"), flow_id="nightly")
        assert host.bridge.call("Sums.add", {"left": 2}, context) == 3
        assert host.host.runtime.privileged.run(sample.add, 1) == 2
        running = ("running", "")
        assert states(host) == {"vdsm.privileged": running, "vdsm.verbs": running}
    lines = [record.getMessage() for record in caplog.records if "operation=" in record.getMessage()]
    assert lines[0].startswith("caller='joe' flow='nightly' operation=adding.add outcome=ok")
    assert lines[1].startswith("caller='vdsm' flow='' operation=adding.add outcome=ok")


def test_without_a_helper_the_rest_works() -> None:
    """What needs it names it in its error, and so does the health of the plugin; other verbs go on."""
    with hosted("/nonexistent/socket") as host:
        with pytest.raises(HelperUnavailable, match=r"adding\.add: vdsmd runs without a privileged helper"):
            host.call("Sums.add", left=2)
        state, error = states(host)["vdsm.privileged"]
        assert state == "running"
        assert error.startswith("degraded: Cannot run the privileged operation adding.add")
        assert host.call("Host.ping") is None


def test_switched_off_with_its_plugin(helper: str) -> None:
    """At a reload, in both directions; what is switched off cannot be called."""
    with hosted(helper, plugin={"adding": {"enabled": True}}) as host:
        client = host.host.runtime.privileged
        assert client.run(sample.add, 1) == 2
        built = host.host.config
        off = configuration.merge([("test", {"plugin": {"adding": {"enabled": False}}})])
        host.host.reload(with_plugins_of(built, off))
        assert {state for state, _ in states(host).values()} == {"disabled"}
        with pytest.raises(HelperUnavailable, match="its plugin does not run"):
            client.run(sample.add, 1)


def with_plugins_of(config: configuration.Config, other: configuration.Config) -> configuration.Config:
    """A configuration with the plugins' tables of another one."""
    return configuration.msgspec.structs.replace(config, plugin=other.plugin, origin=other.origin)


def test_a_module_without_operations_is_an_error() -> None:
    """It is shown with its reason, and stops no other plugin."""
    empty = types.ModuleType("empty")
    with TestHost(privileged={"adding": empty}) as host:
        state, error = states(host)["vdsm.privileged"]
        assert (state, "names nothing with operations" in error) == ("failed", True)
        assert host.call("Host.ping") is None
