"""Plugins that do not start for a reason that can pass are started again; others are not."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from vdsm_bridge.api.declare import Namespace, query
from vdsm_bridge.plugins import attempts
from vdsm_bridge.plugins.attempts import can_pass
from vdsm_bridge.plugins.binding import Binding, Health
from vdsm_bridge.plugins.feature import Feature, PluginInfo
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_core import config as configuration
from vdsm_core.config import Options
from vdsm_core.errors import (
    ConfigError,
    HypervisorDeadline,
    HypervisorUnavailable,
    NoSuchVerb,
    StateUnavailable,
    Unavailable,
    VdsmError,
)
from vdsm_core.plugins import BINDINGS, VERBS, timeout
from vdsm_core.plugins.timeout import GivenUp, StartStopTimeout


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(attempts, "MAX_PAUSE", 0.05)


class Script:
    """What the starts of a plugin do, one after the other; the last entry is for all that follow."""

    def __init__(self) -> None:
        self.acts: list[Callable[[], object]] = []
        self.starts = 0
        self.stopped: list[int] = []

    def play(self) -> int:
        """Act out one start; its number, from 1."""
        self.starts += 1
        number = self.starts
        self.acts[min(number, len(self.acts)) - 1]()
        return number


class ShopOptions(Options, frozen=True):
    """Options of the feature."""

    shelves: int = 1


class Shop(Feature):
    """A feature that starts by the script."""

    Config = ShopOptions
    script: Script

    def namespaces(self) -> Sequence[Namespace]:
        """One verb, which returns the number of its start."""
        shop = self

        class Counter(Namespace):
            """The counter."""

            @query(since="1.0")
            def served_by(self) -> int:
                """The number of the start."""
                return shop.number

        return [Counter()]

    def start(self) -> None:
        """Act."""
        self.number = self.script.play()

    def stop(self, grace: float) -> None:
        """Be seen to end."""
        self.script.stopped.append(self.number)

    def health(self) -> Health:
        """The health of a feature is checked, too."""
        return Health("degraded", "sold out") if self.config.shelves == 0 else Health()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """What the starts of the shop do."""
    made = Script()
    monkeypatch.setattr(Shop, "script", made, raising=False)
    return made


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Lets a start go on that hangs."""
    event = threading.Event()
    yield event
    event.set()


def fail(error: Exception) -> Callable[[], None]:
    """A start that raises."""

    def act() -> None:
        raise error

    return act


def succeed() -> None:
    """A start that is well."""


def one(host: TestHost, name: str = "shop", group: str = VERBS) -> PluginInfo:
    """Return the description of the plugin."""
    (info,) = (info for info in host.host.plugins() if (info.name, info.group) == (name, group))
    return info


def reload(host: TestHost, **tables: dict[str, Any]) -> None:
    """Apply other plugin tables."""
    host.host.reload(configuration.merge([("changed", {"plugin": tables})]))


def trying() -> bool:
    """Whether something is tried again in the background."""
    return any(thread.name.startswith("further start of") for thread in threading.enumerate())


def test_a_passing_error_is_tried_again(
    make_vdsm_host: Callable[..., TestHost],
    script: Script,
    caplog: pytest.LogCaptureFixture,
    gate: threading.Event,
) -> None:
    """Twice it fails, the third time it runs: subscribers, the list and the log say so."""

    def fail_when_seen() -> None:
        gate.wait(30)
        raise Unavailable(reason="the bank is closed")

    script.acts = [fail(Unavailable(reason="no key yet")), fail_when_seen, succeed]
    host = make_vdsm_host(verbs={"shop": Shop})
    info = one(host)
    assert (info.state, info.retrying) == ("failed", True)
    assert info.error == "Not possible at the moment: no key yet"
    with pytest.raises(NoSuchVerb):
        host.call("Counter.servedBy")
    host.host.runtime.events.flush()
    events = host.bridge.subscribe("|host|plugin|shop")
    gate.set()
    seen: list[tuple[str, bool, str]] = []
    while not seen or seen[-1][0] != "running":
        seen += [
            (e.params["state"], e.params["retrying"], e.params["error"]) for e in events.next(timeout=10)
        ]
    events.close()
    assert seen == [
        ("failed", True, "Not possible at the moment: the bank is closed"),
        ("running", False, ""),
    ]
    assert host.call("Counter.servedBy") == 3
    assert (
        "Cannot start plugin shop at this attempt either: Not possible at the moment: the bank" in caplog.text
    )
    until(lambda: not trying())
    assert script.starts == 3


@pytest.mark.parametrize(
    "error",
    [
        ConfigError(file="vdsm.toml", key="plugin.shop.shelves", reason="expected more of them"),
        ValueError("no shelves"),
        PermissionError(errno.EACCES, "Permission denied"),
    ],
)
def test_a_permanent_error_is_not_tried_again(
    make_vdsm_host: Callable[..., TestHost], script: Script, error: Exception
) -> None:
    """Only a reload does that: a retry would have the same result."""
    script.acts = [fail(error), succeed]
    host = make_vdsm_host(verbs={"shop": Shop})
    assert (one(host).state, one(host).retrying) == ("failed", False)
    assert not trying()
    assert script.starts == 1
    reload(host)
    assert (one(host).state, script.starts) == ("running", 2)


def test_a_permanent_error_ends_the_attempts(make_vdsm_host: Callable[..., TestHost], script: Script) -> None:
    """A permanent error at a later attempt is reported, and ends the retries."""
    script.acts = [fail(Unavailable(reason="away")), fail(ValueError("no shelves")), succeed]
    host = make_vdsm_host(verbs={"shop": Shop})
    until(lambda: not one(host).retrying)
    assert (one(host).state, one(host).error) == ("failed", "ValueError: no shelves")
    until(lambda: not trying())
    assert script.starts == 2


def test_a_start_that_comes_late_counts(
    make_vdsm_host: Callable[..., TestHost], script: Script, gate: threading.Event
) -> None:
    """It takes longer than it may, and so would the next one: what it has started is used when it comes."""
    script.acts = [lambda: gate.wait(30)]
    host = make_vdsm_host(verbs={"shop": Shop}, config={"daemon": {"start_timeout": 1.0}})
    info = one(host)
    assert (info.state, info.retrying) == ("failed", True)
    assert info.error == "The start of shop did not finish within 1.0 s"
    # No more than so many hang at the same time, however often it is tried.
    until(lambda: script.starts == attempts.MAX_HANGING)
    gate.set()
    until(lambda: one(host).state == "running")
    until(lambda: len(script.stopped) == attempts.MAX_HANGING - 1)
    assert host.call("Counter.servedBy") not in script.stopped
    until(lambda: not trying())


def test_a_start_that_never_ends_does_not_prevent_the_next(
    make_vdsm_host: Callable[..., TestHost], script: Script, gate: threading.Event
) -> None:
    """Another attempt serves; when the first one ends after all, it is undone."""
    script.acts = [lambda: gate.wait(30), succeed]
    host = make_vdsm_host(verbs={"shop": Shop}, config={"daemon": {"start_timeout": 1.0}})
    until(lambda: one(host).state == "running")
    assert host.call("Counter.servedBy") == 2
    gate.set()
    until(lambda: script.stopped == [1])
    assert host.call("Counter.servedBy") == 2


def test_a_late_failure_is_reported(
    make_vdsm_host: Callable[..., TestHost], script: Script, gate: threading.Event
) -> None:
    """A start that hangs and then fails for good ends the attempts, with its own reason."""

    def hang() -> None:
        gate.wait(30)
        raise ValueError("no shelves")

    script.acts = [hang]
    host = make_vdsm_host(verbs={"shop": Shop}, config={"daemon": {"start_timeout": 1.0}})
    gate.set()
    until(lambda: not one(host).retrying)
    assert one(host).error == "ValueError: no shelves"


def test_a_start_that_computes_without_an_end_is_not_tried_again(
    make_vdsm_host: Callable[..., TestHost], script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was interrupted; another attempt would block the interpreter again."""

    def spin() -> None:
        while True:
            sum(range(1000))

    # However little of a busy machine it gets.
    monkeypatch.setattr(timeout, "_LOOPS", 0.0)
    script.acts = [spin]
    host = make_vdsm_host(verbs={"shop": Shop}, config={"daemon": {"start_timeout": 1.0}})
    assert (one(host).state, one(host).retrying, script.starts) == ("failed", False, 1)
    assert not trying()


def test_switching_it_off_ends_the_attempts(make_vdsm_host: Callable[..., TestHost], script: Script) -> None:
    """Retries end while it is disabled; enabled again, it is started at once."""
    script.acts = [fail(Unavailable(reason="away"))]
    host = make_vdsm_host(verbs={"shop": Shop})
    until(lambda: script.starts > 1)
    reload(host, shop={"enabled": False})
    assert (one(host).state, one(host).retrying) == ("disabled", False)
    until(lambda: not trying())
    starts = script.starts
    script.acts = [succeed]
    reload(host)
    assert (one(host).state, script.starts) == ("running", starts + 1)


def test_a_reload_undoes_what_comes_late(
    make_vdsm_host: Callable[..., TestHost], script: Script, gate: threading.Event
) -> None:
    """It has started anew with the new options; a start with the old ones that hung till then is stopped."""
    script.acts = [lambda: gate.wait(30)]
    config = {"daemon": {"start_timeout": 1.0}}
    host = make_vdsm_host(verbs={"shop": Shop}, config=config)
    script.acts = [succeed]
    reload(host, shop={"shelves": 3})
    served_by = host.call("Counter.servedBy")
    gate.set()
    until(lambda: 1 in script.stopped)
    assert served_by not in script.stopped
    assert host.call("Counter.servedBy") == served_by


def test_the_end_of_the_daemon_ends_the_attempts(script: Script) -> None:
    """No thread goes on, and nothing is started any more."""
    script.acts = [fail(Unavailable(reason="away"))]
    with TestHost(verbs={"shop": Shop}) as host:
        until(lambda: script.starts > 2)
    assert host.host.plugins()
    until(lambda: not trying())
    starts = script.starts
    assert not script.stopped
    time.sleep(0.1)
    assert script.starts == starts


def test_options_of_before_serve_while_new_ones_cannot(
    make_vdsm_host: Callable[..., TestHost], script: Script
) -> None:
    """What runs is not taken down for another attempt: each reload makes one."""
    script.acts = [succeed, fail(Unavailable(reason="away")), succeed]
    host = make_vdsm_host(verbs={"shop": Shop})
    reload(host, shop={"shelves": 2})
    info = one(host)
    assert (info.state, info.retrying) == ("running", False)
    assert info.error.startswith("it keeps running with its former options: ")
    assert not trying()
    assert host.call("Counter.servedBy") == 3


class Stall(Binding):
    """A binding on a port."""

    class Config(Options, frozen=True):
        """Where."""

        port: int = 0

    def start(self) -> None:
        """Listen."""
        self._socket = socket.socket()
        try:
            self._socket.bind(("127.0.0.1", self.config.port))
        except OSError as error:
            self._socket.close()
            raise OSError(f"Cannot listen on 127.0.0.1:{self.config.port}") from error
        self._socket.listen()

    def stop(self, grace: float) -> None:
        """Close."""
        self._socket.close()

    @property
    def address(self) -> tuple[str, ...]:
        """Where it listens."""
        return (f"stall://127.0.0.1:{self._socket.getsockname()[1]}",)


def test_a_port_that_is_in_use_for_a_moment(make_vdsm_host: Callable[..., TestHost]) -> None:
    """The binding listens once the address is free; its own error message announces the retry as well."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        host = make_vdsm_host(bindings={"stall": Stall}, config={"plugin": {"stall": {"port": port}}})
        info = one(host, "stall", BINDINGS)
        assert (info.state, info.retrying) == ("failed", True)
    until(lambda: one(host, "stall", BINDINGS).state == "running")
    assert one(host, "stall", BINDINGS).address == [f"stall://127.0.0.1:{port}"]


def test_the_health_of_a_feature(make_vdsm_host: Callable[..., TestHost], script: Script) -> None:
    """`Host.getPlugins` shows it, as of a binding."""
    script.acts = [succeed]
    host = make_vdsm_host(verbs={"shop": Shop}, config={"plugin": {"shop": {"shelves": 0}}})
    (info,) = (plugin for plugin in host.call("Host.getPlugins") if plugin.name == "shop")
    assert (info.state, info.error) == ("running", "degraded: sold out")


def _raised_from(cause: Exception, error: Exception) -> Exception:
    error.__cause__ = cause
    return error


def _interrupted() -> StartStopTimeout:
    error = StartStopTimeout(what="start of x", seconds=1.0)
    error.interrupted = True
    return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (Unavailable(reason="x"), True),
        (StateUnavailable(file="x", reason="full"), True),
        (HypervisorUnavailable(uri="x", reason="x"), True),
        (HypervisorDeadline(operation="x", object="x", seconds=1.0), True),
        (TimeoutError("x"), True),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), True),
        (OSError(errno.EADDRNOTAVAIL, "x"), True),
        (OSError(errno.ENOENT, "x"), False),
        (OSError("in words, from nothing"), False),
        (_raised_from(OSError(errno.EADDRINUSE, "x"), OSError("in words")), True),
        (_raised_from(OSError(errno.EACCES, "x"), OSError("in words")), False),
        (StartStopTimeout(what="start of x", seconds=1.0), True),
        (_interrupted(), False),
        (GivenUp(what="start of x"), False),
        (VdsmError(reason="x"), False),
        (KeyError("x"), False),
    ],
)
def test_what_can_pass(error: Exception, passes: bool) -> None:
    """What depends on the moment, by the class of the error or the system's number, never by its text."""
    assert can_pass(error) is passes
