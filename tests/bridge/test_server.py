"""The composition root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from vdsm_bridge.binding import Binding
from vdsm_bridge.context import Context
from vdsm_bridge.feature import Feature
from vdsm_bridge.testing import TestHost
from vdsm_bridge.verb import Namespace
from vdsm_core import config as configuration
from vdsm_core.errors import ConfigError


class Eager(Binding):
    """A binding that has a caller at the very moment that it listens."""

    answers: list[object] = []

    def start(self) -> None:
        """Call at once what needs every part of the host."""
        for verb in ("Host.getAllTasks", "Lamp.list", "Host.getPlugins"):
            self.answers.append(self.bridge.call(verb, {}, Context()))

    def stop(self, grace: float) -> None:
        """Call once more."""
        self.answers.append(self.bridge.call("Lamp.list", {}, Context()))

    @property
    def address(self) -> tuple[str, ...]:
        """Made up."""
        return ("eager://",)


def test_the_door_opens_last_and_closes_first() -> None:
    """The first caller finds everything ready, and the last one still does."""
    Eager.answers.clear()
    with TestHost(bindings={"eager": Eager}) as host:
        (info,) = (info for info in host.server.plugins() if info.name == "eager")
        assert (info.state, info.error) == ("running", "")
    assert [type(answer) for answer in Eager.answers] == [dict, list, list, list]


def test_a_host_can_be_stopped_before_it_has_started() -> None:
    """Nothing is left of one that could not start."""
    config = {"access": {"tokens": "/nowhere/tokens"}}
    with pytest.raises(ConfigError, match=r"access\.tokens: No such file"), TestHost(config=config):
        pass


class Grumpy(Feature):
    """A feature that does not stop cleanly."""

    def namespaces(self) -> Sequence[Namespace]:
        """None."""
        return []

    def stop(self, grace: float) -> None:
        """Fail."""
        raise RuntimeError("no")


def test_what_does_not_stop_cleanly_is_logged_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    """The rest is taken down all the same."""
    with TestHost(verbs={"grumpy": Grumpy}):
        pass
    assert "Plugin grumpy (vdsm.verbs) did not stop cleanly" in caplog.text


def test_reload_tells_what_takes_a_restart(
    make_vdsm_host: Callable[..., TestHost], caplog: pytest.LogCaptureFixture
) -> None:
    """Tables that are read at the start only are named."""
    host = make_vdsm_host()
    changed = {
        "daemon": {"state_dir": ":memory:", "run_dir": "", "grace": 9.0},
        "access": {"loopback": "none"},
    }
    host.server.reload(configuration.merge([("test", changed)]))
    assert "The new options of [daemon] come into force at the next start" in caplog.text
    assert "The new options of [access] come into force at the next start" in caplog.text


def test_the_state_is_kept_where_the_configuration_says(tmp_path: Path) -> None:
    """One file, in the folder of the option."""
    with TestHost(config={"daemon": {"state_dir": str(tmp_path / "deep" / "state")}}):
        assert (tmp_path / "deep" / "state" / "state.sqlite").exists()
