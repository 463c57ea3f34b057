"""The composition root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vdsm_bridge.api.declare import Namespace
from vdsm_bridge.call.access import Credentials
from vdsm_bridge.call.context import Context
from vdsm_bridge.daemon.composition import APPLIED_AT_RELOAD
from vdsm_bridge.plugins.binding import Binding
from vdsm_bridge.plugins.feature import Feature
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.tokens import TOKENS, write_tokens
from vdsm_core.config import TABLES
from vdsm_core.errors import ConfigError, Unauthenticated


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
        (info,) = (info for info in host.host.plugins() if info.name == "eager")
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
    assert "Cannot stop plugin grumpy (vdsm.verbs) cleanly" in caplog.text


OTHER: dict[str, Any] = {
    "log_level": "DEBUG",
    "required": ("base",),
    "to": "log",
    "loopback": "monitor",
    "users": {"joe": "monitor"},
    "groups": {"wheel": "operator"},
    "bus_users": {"joe": "monitor"},
    "certificates": {"CN=joe": "monitor"},
    "own_user": "monitor",
    "deadlines": {"vdsm_before_vm_start": 60.0},
}


@pytest.mark.parametrize(
    ("table", "name"), [(table, name) for table, type_ in TABLES.items() for name in type_.__struct_fields__]
)
def test_reload_applies_an_option_or_names_it(
    make_vdsm_host: Callable[..., TestHost], tmp_path: Path, table: str, name: str
) -> None:
    """No option is silently ignored, and one that waits is named at each reload, not at the first only."""
    host = make_vdsm_host()
    now = getattr(host.host.config, table)
    value = getattr(now, name)
    if name == "tokens":
        other: Any = str(write_tokens(tmp_path))
    elif isinstance(value, int | float):
        other = value + 1
    else:
        other = OTHER.get(name, "/elsewhere")
    changed = msgspec.structs.replace(now, **{name: other})
    config = msgspec.structs.replace(host.host.config, **{table: changed})
    applied = f"{table}.{name}" in APPLIED_AT_RELOAD
    for _ in range(2):
        assert host.host.reload(config) == ([] if applied else [f"{table}.{name}"])


def test_reload_applies_access(make_vdsm_host: Callable[..., TestHost], tmp_path: Path) -> None:
    """A revoked token stops working at once, and what was remembered of its caller holds no longer."""
    tokens = write_tokens(tmp_path)
    host = make_vdsm_host(config={"access": {"tokens": str(tokens)}})
    bridge, credentials = host.bridge, Credentials(token=TOKENS["operator"])
    standing = bridge.standing(credentials, bridge.identify(credentials))
    revision = bridge.access_revision
    assert standing()
    lines = tokens.read_text().splitlines()
    tokens.write_text("\n".join(line for line in lines if '"operator"' not in line))
    host.host.reload(host.host.config)
    assert bridge.access_revision != revision
    assert not standing()
    with pytest.raises(Unauthenticated):
        bridge.identify(credentials)
    assert bridge.identify(Credentials(token=TOKENS["admin"])).role == "admin"
    shut = msgspec.structs.replace(host.host.config.access, loopback="none")
    host.host.reload(msgspec.structs.replace(host.host.config, access=shut))
    with pytest.raises(Unauthenticated):
        bridge.identify(Credentials(address="127.0.0.1"))


def test_reload_with_a_bad_token_file_changes_nothing(
    make_vdsm_host: Callable[..., TestHost], tmp_path: Path
) -> None:
    """The rules in force go on."""
    tokens = write_tokens(tmp_path)
    host = make_vdsm_host(config={"access": {"tokens": str(tokens)}})
    tokens.chmod(0o644)
    with pytest.raises(ConfigError, match="readable by its owner only"):
        host.host.reload(host.host.config)
    assert host.bridge.identify(Credentials(token=TOKENS["operator"])).role == "operator"


def test_the_state_is_kept_where_the_configuration_says(tmp_path: Path) -> None:
    """One file, in the folder of the option."""
    with TestHost(config={"daemon": {"state_dir": str(tmp_path / "deep" / "state")}}):
        assert (tmp_path / "deep" / "state" / "state.sqlite").exists()
