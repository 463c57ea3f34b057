"""The life of plugins: isolation, bounds, reload."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from vdsm_bridge.api.declare import Namespace, query
from vdsm_bridge.plugins.binding import Binding
from vdsm_bridge.plugins.feature import Feature, PluginInfo
from vdsm_bridge.plugins.lifecycle import DaemonStops
from vdsm_bridge.testing import Sample, TestHost, found
from vdsm_bridge.testing.polling import until
from vdsm_core import config as configuration
from vdsm_core.config import Options
from vdsm_core.errors import ConfigError, PluginsMissing
from vdsm_core.hooks import hookimpl
from vdsm_core.hooks.specs.vm import vdsm_after_vm_pause
from vdsm_core.plugins import BINDINGS, HOOKS, VERBS


class PigeonOptions(Options, frozen=True):
    """Options of the binding."""

    loft: int = 1


class Pigeon(Binding):
    """A binding that only writes down what is done with it."""

    Config = PigeonOptions
    log: list[str]

    def start(self) -> None:
        """Up."""
        self.log.append(f"start {self.config.loft} with {'Lamp.list' in self.bridge.verbs}")

    def stop(self, grace: float) -> None:
        """Down."""
        self.log.append(f"stop {self.config.loft} with {'Lamp.list' in self.bridge.verbs}")

    @property
    def address(self) -> tuple[str, ...]:
        """A made-up one."""
        return (f"pigeon://{self.config.loft}",)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the pigeon has written down."""
    lines: list[str] = []
    monkeypatch.setattr(Pigeon, "log", lines, raising=False)
    return lines


class Bad(Binding):
    """A binding that cannot start."""

    def start(self) -> None:
        """Fail."""
        raise OSError(98, "Address already in use")

    def stop(self, grace: float) -> None:
        """Never."""

    @property
    def address(self) -> tuple[str, ...]:
        """Nothing."""
        raise AssertionError("a binding that does not run has no address")


def one(host: TestHost, name: str, group: str = BINDINGS) -> PluginInfo:
    """Return the description of one plugin."""
    (info,) = (info for info in host.host.plugins() if (info.name, info.group) == (name, group))
    return info


def reload(host: TestHost, **tables: dict[str, Any]) -> None:
    """Apply other plugin tables."""
    host.host.reload(configuration.merge([("changed", {"plugin": tables})]))


def test_bindings_come_last_and_go_first(make_vdsm_host: Callable[..., TestHost], log: list[str]) -> None:
    """No binding listens before the verbs are loaded, or after they are unloaded."""
    with TestHost(bindings={"a_pigeon": Pigeon}) as host:
        assert one(host, "a_pigeon").address == ["pigeon://1"]
    assert log == ["start 1 with True", "stop 1 with True"]


def exiting(*_: Any) -> None:
    """What a plugin must not do."""
    raise SystemExit(1)


@pytest.mark.parametrize(
    ("plugin", "binding_error", "feature_error"),
    [
        (Bad, "OSError: [Errno 98] Address already in use", "AttributeError: 'Bad' object has no attribute"),
        (exiting, "SystemExit: 1", "SystemExit: 1"),
        (lambda: 1, "TypeError", "TypeError"),
    ],
)
def test_a_plugin_that_fails_is_alone(
    make_vdsm_host: Callable[..., TestHost], plugin: Any, binding_error: str, feature_error: str
) -> None:
    """It is shown with its error; everything else runs."""
    host = make_vdsm_host(bindings={"bad": plugin}, verbs={"worse": plugin})
    for group, name, message in ((BINDINGS, "bad", binding_error), (VERBS, "worse", feature_error)):
        info = one(host, name, group)
        assert info.state == "failed"
        assert message in info.error
    assert host.call("Room.add", left=1) == 2


def test_a_binding_does_not_take_a_features_verbs_away(make_vdsm_host: Callable[..., TestHost]) -> None:
    """A plugin's name may stand in two groups; each lives its own life."""
    host = make_vdsm_host(bindings={"sample": Bad})
    assert one(host, "sample").state == "failed"
    assert one(host, "sample", VERBS).state == "running"
    assert host.call("Lamp.list") == []


class Slow(Feature):
    """A feature that takes its time to start."""

    release: threading.Event
    ended: threading.Event

    def namespaces(self) -> Sequence[Namespace]:
        """A verb of its own."""

        class Snail(Namespace):
            """Slow."""

            @query(since="1.0")
            def crawl(self) -> None:
                """Crawl."""

        return [Snail()]

    def start(self) -> None:
        """Hang."""
        self.release.wait(10)

    def stop(self, grace: float) -> None:
        """Be seen to end."""
        self.ended.set()


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Lets the slow feature go on."""
    event = threading.Event()
    monkeypatch.setattr(Slow, "release", event, raising=False)
    monkeypatch.setattr(Slow, "ended", threading.Event(), raising=False)
    yield event
    event.set()


def test_a_start_is_bounded(make_vdsm_host: Callable[..., TestHost], release: threading.Event) -> None:
    """A plugin that hangs counts as failed until it has started; no other plugin waits for it."""
    host = make_vdsm_host(verbs={"slow": Slow}, config={"daemon": {"start_timeout": 2.0}})
    assert one(host, "slow", VERBS).error == "The start of slow did not finish within 2.0 s"
    assert host.call("Room.add", left=1) == 2
    assert "Snail.crawl" not in host.bridge.verbs


def test_a_late_start_does_not_undo_the_next_one(
    make_vdsm_host: Callable[..., TestHost], release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt runs; when the first one ends after all, only that is stopped."""
    host = make_vdsm_host(verbs={"slow": Slow}, config={"daemon": {"start_timeout": 2.0}})
    assert one(host, "slow", VERBS).state == "failed"
    with monkeypatch.context() as patch:
        patch.setattr(Slow, "start", lambda _: None)
        reload(host)
    assert one(host, "slow", VERBS).state == "running"
    release.set()
    assert Slow.ended.wait(10)
    host.call("Snail.crawl")


def test_a_stop_is_bounded(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A binding that does not stop is left alone when its share of the time is over."""
    goes_on = threading.Event()
    monkeypatch.setattr(Pigeon, "stop", lambda *_: goes_on.wait(10))
    host = TestHost(bindings={"pigeon": Pigeon}, config={"daemon": {"grace": 0.1}})
    began = time.monotonic()
    with host:
        pass
    assert time.monotonic() - began < 5
    assert "did not finish" in one(host, "pigeon").error
    goes_on.set()


def test_a_hanging_stop_is_reported_until_it_ends(
    make_vdsm_host: Callable[..., TestHost], log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin that is switched off and hangs is shown so, also after another reload; then it is just off."""
    goes_on = threading.Event()
    monkeypatch.setattr(Pigeon, "stop", lambda *_: goes_on.wait(10))
    host = make_vdsm_host(bindings={"pigeon": Pigeon}, config={"daemon": {"grace": 0.1}})
    events = host.bridge.subscribe("|host|plugin|pigeon")
    for _ in range(2):
        reload(host, pigeon={"enabled": False})
        info = one(host, "pigeon")
        assert (info.state, info.address) == ("disabled", [])
        assert "The stop of pigeon did not finish" in info.error
    goes_on.set()
    seen: list[tuple[str, bool]] = []
    while ("disabled", False) not in seen:
        seen += [(event.params["state"], bool(event.params["error"])) for event in events.next(timeout=10)]
    events.close()
    assert seen[-3:] == [("stopped", True), ("disabled", True), ("disabled", False)]
    assert (one(host, "pigeon").state, one(host, "pigeon").error) == ("disabled", "")


def test_an_address_that_cannot_be_read(
    make_vdsm_host: Callable[..., TestHost], log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of one binding, or its shutdown, does not prevent the listing of the others."""
    host = make_vdsm_host(bindings={"pigeon": Pigeon, "raven": Pigeon})
    monkeypatch.setattr(Pigeon, "address", property(lambda _: 1 / 0))
    assert [plugin.name for plugin in host.call("Host.getPlugins") if plugin.group == BINDINGS] == [
        "pigeon",
        "raven",
    ]
    assert one(host, "pigeon").address == []


def test_two_reloads_at_once_come_one_after_the_other(
    make_vdsm_host: Callable[..., TestHost], log: list[str]
) -> None:
    """The last request decides what runs, and nothing runs twice."""
    host = make_vdsm_host(bindings={"pigeon": Pigeon})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda loft: reload(host, pigeon={"loft": loft}), range(2, 34)))
    for stopped, started in zip(log[1::2], log[2::2], strict=True):
        assert stopped.startswith("stop")
        assert started.startswith("start")
    assert one(host, "pigeon").address == [f"pigeon://{host.host.config.plugin['pigeon']['loft']}"]
    assert log[-1].split()[1] == str(host.host.config.plugin["pigeon"]["loft"])


def test_a_host_that_stops_waits_for_no_start(
    make_vdsm_host: Callable[..., TestHost], release: threading.Event, log: list[str]
) -> None:
    """A reload that hangs in a plugin is cut short; the plugins after that are not touched; then it ends."""
    config = {
        "daemon": {"start_timeout": 30.0, "grace": 30.0},
        "plugin": {"slow": {"enabled": False}, "pigeon": {"enabled": False}},
    }
    host = make_vdsm_host(verbs={"slow": Slow}, bindings={"pigeon": Pigeon}, config=config)
    with ThreadPoolExecutor(1) as pool:
        reloading = pool.submit(reload, host)
        until(lambda: "start of slow" in {thread.name for thread in threading.enumerate()})
        began = time.monotonic()
        host.host.stop()
        assert time.monotonic() - began < 10
        with pytest.raises(DaemonStops):
            reloading.result(10)
    assert "was abandoned" in one(host, "slow", VERBS).error
    assert log == []
    with pytest.raises(DaemonStops):
        reload(host)
    release.set()
    assert Slow.ended.wait(10)


class Stubborn(Feature):
    """A feature that does not stop."""

    goes_on: threading.Event

    def namespaces(self) -> Sequence[Namespace]:
        """None."""
        return []

    def stop(self, grace: float) -> None:
        """Hang."""
        self.goes_on.wait(10)


def test_the_end_of_the_daemon_is_bounded_as_a_whole(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Bindings are stopped side by side, and they leave time to the features, whatever hangs."""
    goes_on = threading.Event()
    monkeypatch.setattr(Pigeon, "stop", lambda *_: goes_on.wait(10))
    monkeypatch.setattr(Stubborn, "goes_on", goes_on, raising=False)
    host = TestHost(
        bindings={"pigeon": Pigeon, "raven": Pigeon, "crow": Pigeon},
        verbs={"stubborn": Stubborn},
        config={"daemon": {"grace": 1.0}},
    )
    with host:
        began = time.monotonic()
    taken = time.monotonic() - began
    hung = [one(host, "stubborn", VERBS), *(one(host, name) for name in ("pigeon", "raven", "crow"))]
    goes_on.set()
    assert taken < 3
    assert all("did not finish" in plugin.error for plugin in hung)


class Twin(Sample):
    """Offers what the sample offers."""

    ended: list[str]

    def stop(self, grace: float) -> None:
        """Be seen to end."""
        self.ended.append("twin")


def test_the_second_of_two_that_offer_the_same_is_stopped(
    make_vdsm_host: Callable[..., TestHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names both, the first one serves on, the second one does not go on in the dark."""
    monkeypatch.setattr(Twin, "ended", [], raising=False)
    host = make_vdsm_host(verbs={"twin": Twin})
    info = one(host, "twin", VERBS)
    assert info.state == "failed"
    assert info.error.endswith("is offered by the plugins 'sample' (test 0) and 'twin' (test 0)")
    assert Twin.ended == ["twin"]
    assert host.call("Lamp.list") == []


@pytest.mark.parametrize(
    ("names", "message"),
    [(["nothing"], "nothing: not installed"), (["bad"], "bad: OSError"), (["pigeon"], "pigeon: disabled")],
)
def test_required_plugins(names: list[str], message: str, log: list[str]) -> None:
    """Without them the host does not start, reports the reason, and leaves nothing running."""
    config = {"daemon": {"required": names}, "plugin": {"pigeon": {"enabled": False}}}
    with (
        pytest.raises(PluginsMissing, match=message),
        TestHost(bindings={"bad": Bad, "pigeon": Pigeon, "other": Pigeon}, config=config),
    ):
        pass
    assert log == ["start 1 with True", "stop 1 with True"]


def test_reload_touches_only_what_has_changed(
    make_vdsm_host: Callable[..., TestHost], log: list[str]
) -> None:
    """Options restart their plugin, the switch takes it down and up, the rest serves on."""
    host = make_vdsm_host(bindings={"pigeon": Pigeon})
    reload(host)
    assert log == ["start 1 with True"]
    reload(host, pigeon={"loft": 2})
    assert log[1:] == ["stop 1 with True", "start 2 with True"]
    reload(host, pigeon={"enabled": False})
    assert (one(host, "pigeon").state, one(host, "pigeon").address) == ("disabled", [])
    reload(host, pigeon={"loft": 2}, sample={"enabled": False})
    assert log[3:] == ["stop 2 with True", "start 2 with False"]
    assert "Lamp.list" not in host.bridge.verbs
    reload(host, pigeon={"loft": 2})
    assert host.call("Lamp.list") == []


def test_reload_refuses_a_bad_config_as_a_whole(
    make_vdsm_host: Callable[..., TestHost], log: list[str]
) -> None:
    """Nothing has changed then."""
    host = make_vdsm_host(bindings={"pigeon": Pigeon})
    with pytest.raises(ConfigError, match=r"changed: plugin\.pigeon\.loft: expected a whole number"):
        reload(host, pigeon={"loft": "x"}, sample={"enabled": False})
    assert log == ["start 1 with True"]
    assert host.call("Lamp.list") == []


def test_a_table_without_a_plugin_is_named(
    make_vdsm_host: Callable[..., TestHost], caplog: pytest.LogCaptureFixture
) -> None:
    """Once, in the log; a package may have gone and have left its file."""
    make_vdsm_host(
        config={"plugin": {"ghost": {"x": 1}, "silent_ghost": {"enabled": False}, "empty_ghost": {}}}
    )
    assert caplog.text.count("The table [plugin.ghost] belongs to no installed plugin") == 1
    assert "silent_ghost" not in caplog.text
    assert "empty_ghost" not in caplog.text


def test_a_broken_plugin_stays_broken_through_the_switch(make_vdsm_host: Callable[..., TestHost]) -> None:
    """Disabled and enabled again, it still has its reason; one that can start now, starts."""
    host = make_vdsm_host()
    broken = found(BINDINGS, "broken", None)
    host.host._lifecycle._discover = lambda group: (
        [
            type(broken)(
                group=BINDINGS, name="broken", target="x", distribution="d", version="1", error="no module"
            )
        ]
        if group == BINDINGS
        else []
    )
    reload(host)
    assert (one(host, "broken").state, one(host, "broken").error) == ("failed", "no module")
    reload(host, broken={"enabled": False})
    assert (one(host, "broken").state, one(host, "broken").error) == ("disabled", "")
    reload(host)
    assert (one(host, "broken").state, one(host, "broken").error) == ("failed", "no module")


class Loft(Feature):
    """A feature of the name of the binding, with other options."""

    class Config(Options, frozen=True):
        """One that the binding does not have."""

        doors: int = 1

    def namespaces(self) -> Sequence[Namespace]:
        """None."""
        return []


class Switch(Loft):
    """A feature with an option of its own that every plugin has."""

    class Config(Options, frozen=True):
        """It would never be read."""

        enabled: bool = False


def test_options_that_conflict(make_vdsm_host: Callable[..., TestHost], log: list[str]) -> None:
    """Two types for one table name both with their versions; the switch is no option of a plugin's."""
    host = make_vdsm_host(verbs={"pigeon": Loft, "switch": Switch}, bindings={"pigeon": Pigeon})
    assert one(host, "pigeon", VERBS).state == "running"
    assert one(host, "pigeon").error == (
        "test (test 0) and test (test 0) have different options for one table [plugin.pigeon]"
    )
    assert (
        one(host, "switch", VERBS).error
        == "its option 'enabled' conflicts with the option 'enabled' of every plugin"
    )


class Watcher:
    """Hooks."""

    seen: list[str] = []

    @hookimpl
    def vdsm_after_vm_pause(self, vm_id: str) -> None:
        """Write it down."""
        self.seen.append(vm_id)


def test_hooks_are_switched_too(make_vdsm_host: Callable[..., TestHost]) -> None:
    """A disabled hook plugin is not called; one that does not fit is listed with its error."""

    class Misfit:
        @hookimpl
        def vdsm_after_vm_pause(self, colour: str) -> None:
            pass

    Watcher.seen.clear()
    host = make_vdsm_host(hooks={"watcher": Watcher(), "misfit": Misfit()})
    hooks = host.host.runtime.hooks
    hooks.run(vdsm_after_vm_pause, "a", Element("domain"), {})
    reload(host, watcher={"enabled": False})
    hooks.run(vdsm_after_vm_pause, "b", Element("domain"), {})
    reload(host)
    hooks.run(vdsm_after_vm_pause, "c", Element("domain"), {})
    assert Watcher.seen == ["a", "c"]
    assert "colour" in one(host, "misfit", HOOKS).error
