"""Events of the host about its plugins and its configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vdsm_bridge.daemon import main as daemon
from vdsm_bridge.plugins.binding import Binding
from vdsm_bridge.testing import TestHost


class Dove(Binding):
    """A binding that has nothing to do."""

    def start(self) -> None:
        """Up."""

    def stop(self, grace: float) -> None:
        """Down."""

    @property
    def address(self) -> tuple[str, ...]:
        """Made up."""
        return ("dove://",)


class Egg(Dove):
    """A binding that cannot start."""

    def start(self) -> None:
        """Fail."""
        raise OSError("not hatched")


#: What a test host is made with, so that nothing of it takes a restart.
MADE_WITH = """
[daemon]
state_dir = ":memory:"
run_dir = ""
grace = 10.0
[hypervisor]
uri = "test:///default"
sample_interval = 0.2
"""


def test_plugins_and_configuration(make_vdsm_host: Callable[..., TestHost], tmp_path: Path) -> None:
    """Loaded, failed, disabled, enabled; a configuration that is applied, and one that is refused."""
    host = make_vdsm_host(bindings={"dove": Dove, "egg": Egg})
    subscription = host.bridge.subscribe("|host", after=0)

    def received() -> list[tuple[str, ...]]:
        host.host.runtime.events.flush()
        found = []
        for event in subscription.next(0, max_events=100):
            _, component, operation, name = event.id.split("|")
            if name in ("dove", "egg"):
                found.append((name, event.params["state"], event.params["error"]))
            elif (component, operation) == ("host", "config"):
                found.append(("config", str(event.params["applied"]), event.params["reason"]))
        return found

    assert received() == [("dove", "running", ""), ("egg", "failed", "not hatched")]
    file = tmp_path / "vdsm.toml"
    file.write_text(f"{MADE_WITH}[plugin.dove]\nenabled = false\n[plugin.egg]\nenabled = false\n")
    daemon._reload(host.host, file)
    assert sorted(received()) == [
        ("config", "True", ""),
        ("dove", "disabled", ""),
        ("dove", "stopped", ""),
        ("egg", "disabled", ""),
    ]
    file.write_text(f"{MADE_WITH}[plugin.egg]\nenabled = false\n")
    daemon._reload(host.host, file)
    assert received() == [("dove", "running", ""), ("config", "True", "")]
    file.write_text(f"{MADE_WITH}[plugin.dove]\nsize = 3\n")
    daemon._reload(host.host, file)
    ((what, applied, reason),) = received()
    assert (what, applied) == ("config", "False")
    assert "plugin.dove.size" in reason
    file.write_text(MADE_WITH.replace("10.0", "9.0"))
    daemon._reload(host.host, file)
    assert ("config", "True", "a restart is needed to apply daemon.grace") in received()
    subscription.close()
