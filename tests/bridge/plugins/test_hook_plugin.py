"""A plugin whose hook hangs, as the host shows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from xml.etree.ElementTree import Element

import msgspec
import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_core.config import HookOptions
from vdsm_core.hooks import hookimpl
from vdsm_core.hooks.errors import HookDeadline, HookUnavailable
from vdsm_core.hooks.specs.vm import vdsm_after_vm_pause, vdsm_before_vm_pause
from vdsm_core.plugins import HOOKS


class Slow:
    """Hooks that return when the test releases them."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.calls = 0

    @hookimpl
    def vdsm_before_vm_pause(self) -> None:
        """Wait."""
        self.calls += 1
        self.go_on.wait(30)


class Quick:
    """Hooks that return at once."""

    seen: list[str]

    @hookimpl
    def vdsm_after_vm_pause(self, vm_id: str) -> None:
        """Write it down."""
        self.seen.append(vm_id)


@pytest.fixture
def slow() -> Iterator[Slow]:
    """The hook that hangs."""
    made = Slow()
    yield made
    made.go_on.set()


def errors(host: TestHost) -> dict[str, str]:
    """Return the error that `Host.getPlugins` reports for each hook plugin."""
    plugins = [plugin for plugin in host.call("Host.getPlugins") if plugin.group == HOOKS]
    assert {plugin.state for plugin in plugins} == {"running"}
    return {plugin.name: plugin.error for plugin in plugins}


def test_a_hook_that_hangs_is_named(make_vdsm_host: Callable[..., TestHost], slow: Slow) -> None:
    """The plugin runs, and is degraded until the call has returned; the other one is well and is called."""
    quick = Quick()
    quick.seen = []
    host = make_vdsm_host(hooks={"quick": quick, "slow": slow}, config={"hooks": {"deadline": 0.2}})
    hooks = host.host.runtime.hooks
    assert errors(host) == {"quick": "", "slow": ""}
    with pytest.raises(HookDeadline, match=r"plugin 'slow' did not return within 0\.2 s"):
        hooks.run(vdsm_before_vm_pause, "v", Element("domain"), {})
    reported = errors(host)
    assert reported["slow"].startswith("degraded: vdsm_before_vm_pause has not returned for ")
    assert reported["quick"] == ""
    host.host.reload(host.host.config)
    assert errors(host)["slow"].startswith("degraded: ")
    with pytest.raises(HookUnavailable):
        hooks.run(vdsm_before_vm_pause, "v", Element("domain"), {})
    host.host.reload(msgspec.structs.replace(host.host.config, hooks=HookOptions(deadline=30.0)))
    hooks.run(vdsm_after_vm_pause, "v", Element("domain"), {})
    assert quick.seen == ["v"]
    slow.go_on.set()
    until(lambda: not errors(host)["slow"], 30.0)
    assert slow.calls == 1


def test_reload_applies_the_deadline(make_vdsm_host: Callable[..., TestHost], slow: Slow) -> None:
    """An administrator whose hook needs longer does not have to restart the daemon for it."""
    host = make_vdsm_host(hooks={"slow": slow}, config={"hooks": {"deadline": 30.0}})
    deadlines = HookOptions(deadlines={"vdsm_before_vm_pause": 0.1})
    assert host.host.reload(msgspec.structs.replace(host.host.config, hooks=deadlines)) == []
    with pytest.raises(HookDeadline, match=r"within 0\.1 s"):
        host.host.runtime.hooks.run(vdsm_before_vm_pause, "v", Element("domain"), {})
