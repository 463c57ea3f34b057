"""Switching plugins by drop-ins."""

from __future__ import annotations

from pathlib import Path

import pytest

from vdsm_bridge.testing import found
from vdsm_bridge.tool import dropin
from vdsm_bridge.tool.dropin import CannotSwitch
from vdsm_bridge.tool.installed import Installed, read
from vdsm_core import config as configuration
from vdsm_core.config import Options
from vdsm_core.errors import ConfigError
from vdsm_core.plugins import BINDINGS, Found


class LampOptions(Options, frozen=True):
    """Options of a plugin."""

    watts: int = 40


class Lamp:
    """Something that can be switched."""

    Config = LampOptions


@pytest.fixture
def installed() -> Installed:
    """One plugin, `lamp`."""

    def discover(group: str) -> list[Found]:
        return [found(BINDINGS, "lamp", Lamp)] if group == BINDINGS else []

    return read(discover=discover)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of configuration."""
    (tmp_path / "vdsm.toml").write_text("[plugin.lamp]\nwatts = 60\n")
    return tmp_path


def test_off_and_on(place: Path, installed: Installed) -> None:
    """A drop-in file is written; none if the state is as requested."""
    assert dropin.switch("lamp", installed, place, on=True) is None
    file = place / "conf.d" / "50-plugin-lamp.toml"
    for on in (False, True):
        assert dropin.switch("lamp", installed, place, on=on) == file
        assert configuration.load(place).enabled("lamp") is on
        assert configuration.load(place).options("lamp", LampOptions).watts == 60
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("name", "files", "on", "message"),
    [
        ("lmap", {}, False, "it is not installed; the installed ones are"),
        (
            "lamp",
            {"conf.d/90-mine.toml": "[plugin.lamp]\nenabled = true"},
            False,
            "90-mine.toml overrides it with 'enabled = true'",
        ),
        (
            "lamp",
            {"conf.d/50-plugin-lamp.toml": "[plugin.lamp]\nwatts = 7"},
            False,
            "50-plugin-lamp.toml sets other options, too",
        ),
        ("lamp", {"conf.d/10-a.toml": "[daemon]\nrequired = ['lamp']"}, False, "10-a.toml.*names it"),
        (
            "lamp",
            {"conf.d/10-a.toml": "[plugin.lamp]\nenabled = false\nwatts = 'x'"},
            True,
            "10-a.toml: plugin.lamp.watts: expected a whole number",
        ),
        ("lamp", {"conf.d/10-a.toml": "[daemon]\ngracee = 1"}, False, "10-a.toml: daemon.gracee"),
    ],
)
def test_what_the_daemon_would_not_accept_is_not_written(
    place: Path, installed: Installed, name: str, files: dict[str, str], on: bool, message: str
) -> None:
    """The error has the reason, and no file is changed."""
    (place / "conf.d").mkdir()
    for path, text in files.items():
        (place / path).write_text(text)
    before = {path: path.read_text() for path in place.rglob("*.*") if path.is_file()}
    with pytest.raises((CannotSwitch, ConfigError), match=message):
        dropin.switch(name, installed, place, on=on)
    assert {path: path.read_text() for path in place.rglob("*.*") if path.is_file()} == before


def test_a_single_file_has_no_drop_ins(place: Path, installed: Installed) -> None:
    """A daemon that reads one file would not see it."""
    with pytest.raises(CannotSwitch, match="is read alone"):
        dropin.switch("lamp", installed, place / "vdsm.toml", on=False)
