"""The helper's start: which operations it has, whom it serves, and what keeps it from starting."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.privileged import sample
from vdsm_core.errors import ConfigError
from vdsm_core.plugins import PRIVILEGED, Found
from vdsm_core.privileged import capabilities, operations_of
from vdsm_core.privileged.server import main, registry
from vdsm_core.privileged.server.registry import Registry


def found(name: str, *, loaded: object = None, error: str = "") -> Found:
    """What discovery says of a plugin."""
    values = {"target": "test", "distribution": name, "version": "0"}
    return Found(group=PRIVILEGED, name=name, loaded=loaded, error=error, **values)


def test_what_is_switched_off_is_not_loaded(tmp_path: Path) -> None:
    """By the table of its plugin, in the file that the daemon reads."""
    pytest.importorskip("vdsm_virt")
    place = tmp_path / "vdsm.toml"
    place.write_text("")
    assert "virt.read_firmware" in Registry.installed(place).operations
    place.write_text("[plugin.virt]\nenabled = false\n")
    assert [name for name in Registry.installed(place).operations if name.startswith("virt.")] == []


def test_a_plugin_that_cannot_be_loaded_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a line in the log; the others are there. So is one whose name two distributions claim."""
    broken = [found("broken", error="ImportError: no such thing"), found("good", loaded=sample)]
    monkeypatch.setattr(registry, "discover", lambda _: broken)
    (tmp_path / "vdsm.toml").write_text("")
    operations = Registry.installed(tmp_path / "vdsm.toml").operations
    assert set(operations) == {f"good.{each.name}" for each in operations_of(sample)}
    (record,) = caplog.records
    assert record.getMessage() == "The operations of plugin broken are left out: ImportError: no such thing"


def test_capabilities_are_the_union() -> None:
    """Of all operations, and nothing beside."""
    made = Registry()
    assert made.capabilities == 0
    made.add("sample", operations_of(sample))
    assert capabilities.names_of(made.capabilities) == ["CAP_CHOWN"]


def test_a_configuration_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """The helper serves no peer by rules that it cannot read."""
    (tmp_path / "vdsm.toml").write_text("[plugin\n")
    with pytest.raises(ConfigError):
        Registry.installed(tmp_path / "vdsm.toml")


def test_nobody_is_served_while_the_account_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the account and the option; a user id that was given counts."""
    assert main._peers(None, "root") == [0]
    assert main._peers(7, "no-such-account") == [7]
    caplog.set_level(logging.ERROR, "vdsm.helper")
    assert main._peers(None, "no-such-account") == []
    (record,) = caplog.records
    said = "No user is served: there is no account 'no-such-account'. Create it, or change [daemon] user"
    assert record.getMessage() == said


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        ([], "", "no socket was passed. vdsm-helper.socket, or vdsmd as root, starts this program"),
        (["--listen", "0"], "[daemon]\nuserr = 1", "there is no such key; did you mean 'user'?"),
    ],
)
def test_what_stops_the_start_is_said(tmp_path: Path, arguments: list[str], text: str, said: str) -> None:
    """In one line, with exit code 1."""
    place = tmp_path / "vdsm.toml"
    place.write_text(text)
    command = [sys.executable, "-m", "vdsm_core.privileged.server", "--config", str(place), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LISTEN_")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("ERROR   vdsm-helper: Cannot start: ")
    assert said in line
