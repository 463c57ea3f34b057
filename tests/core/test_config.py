"""The configuration: files, their order, and errors that name file and key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vdsm_core import config
from vdsm_core.config import DaemonOptions, Options
from vdsm_core.errors import ConfigError


class LampOptions(Options, frozen=True):
    """A plugin's table."""

    watts: int = 10
    places: list[str] = []


BAD = {
    "[daemon]\ngrace = 'long'": ("daemon.grace", "expected a number, got text"),
    "[daemon]\ngrace = 0": ("daemon.grace", "expected a number of more than 0"),
    "[daemon]\ngracee = 1": ("daemon.gracee", "there is no such key; did you mean 'grace'?"),
    "[daemon]\nrequired = ['a', 1]": ("daemon.required[1]", "expected text, got a whole number"),
    "[daemon]\nlog_level = 'LOUD'": ("daemon.log_level", "'LOUD' is not one of"),
    "[access.users]\njoe = 'king'": ("access.users[...]", "'king' is not one of"),
    "[hooks]\ndeadline = 0": ("hooks.deadline", "expected a number of more than 0"),
    "[hooks.deadlines]\nvdsm_before_vm_start = 'x'": ("hooks.deadlines[...]", "expected a number, got text"),
    "[hooks.deadlines]\nvdsm_before_vm_strat = 1": (
        "hooks.deadlines.vdsm_before_vm_strat",
        "there is no such hook; did you mean 'vdsm_before_vm_start'?",
    ),
    "[deamon]": ("deamon", "there is no such table; did you mean 'daemon'?"),
    "[plugins.rest]": ("plugins", "there is no such table; did you mean 'plugin'?"),
    "x = 1": ("x", "there is no such table"),
    "plugin = 1": ("plugin", "expected a structure"),
    "plugin.lamp = 1": ("plugin[...]", "expected a structure"),
    "[plugin.lamp]\nenabled = 'yes'": ("plugin.lamp.enabled", "expected true or false"),
    "[daemon": ("(syntax)", ""),
}


@pytest.mark.parametrize(("text", "expected"), BAD.items(), ids=BAD)
def test_error_names_file_key_and_reason(tmp_path: Path, text: str, expected: tuple[str, str]) -> None:
    """Whatever is wrong with a file, the error names the file, the key and what was expected."""
    file = tmp_path / "vdsm.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    facts = caught.value.facts
    assert (facts["file"], facts["key"]) == (str(file), expected[0])
    assert expected[1] in facts["reason"]
    assert str(caught.value).startswith(f"{file}: {expected[0]}: ")


@pytest.mark.parametrize(
    ("key", "reason"),
    [("watt", "there is no such key; did you mean 'watts'?"), ("watts", "expected a whole number")],
)
def test_error_in_a_plugins_table(key: str, reason: str) -> None:
    """A plugin's options are checked by its own type, with the same errors."""
    made = config.merge([("conf.d/lamp.toml", {"plugin": {"lamp": {key: "x"}}})])
    with pytest.raises(ConfigError, match=rf"^conf.d/lamp.toml: plugin.lamp.{key}: {reason}"):
        made.options("lamp", LampOptions)


def test_unreadable_files(tmp_path: Path) -> None:
    """A file that is absent, or no UTF-8, is an error with its name."""
    with pytest.raises(ConfigError, match="No such file"):
        config.load(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"a = '\xe4'")
    with pytest.raises(ConfigError, match="latin"):
        config.load(tmp_path / "latin.toml")


def test_later_files_override_single_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """conf.d is read in the order of names after the main file; the file that set a key is recorded."""
    main = tmp_path / "vdsm.toml"
    monkeypatch.setattr(config, "default_file", lambda: main)
    (tmp_path / "conf.d").mkdir()
    main.write_text("[daemon]\ngrace = 1\ncall_deadline = 1\n[plugin.lamp]\nwatts = 1\nplaces = ['a']")
    (tmp_path / "conf.d" / "20.toml").write_text("[daemon]\ngrace = 3")
    (tmp_path / "conf.d" / "10.toml").write_text("[daemon]\ngrace = 2\n[plugin.lamp]\nwatts = 2")
    (tmp_path / "conf.d" / "30.text").write_text("[daemon]\ngrace = 4")
    made = config.load()
    assert (made.daemon.grace, made.daemon.call_deadline) == (3, 1)
    assert made.options("lamp", LampOptions) == LampOptions(watts=2, places=["a"])
    assert made.origin["daemon.grace"] == str(tmp_path / "conf.d" / "20.toml")
    assert made.origin["daemon.call_deadline"] == str(main)


def test_error_names_the_file_that_set_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several files, the one with the bad value is named."""
    monkeypatch.setattr(config, "default_file", lambda: tmp_path / "vdsm.toml")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "vdsm.toml").write_text("[daemon]\ngrace = 1")
    (tmp_path / "conf.d" / "10.toml").write_text("[daemon]\ncall_deadline = -1")
    with pytest.raises(ConfigError, match=r"10.toml: daemon.call_deadline: "):
        config.load()


def test_no_file_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without files everything has its default, and every plugin is switched on."""
    monkeypatch.setattr(config, "default_file", lambda: tmp_path / "vdsm.toml")
    made = config.load()
    assert made.hypervisor.uri == "qemu:///system"
    assert made.enabled("anything")
    assert made.origin == {}


@pytest.mark.parametrize(
    ("table", "on"), [({}, True), ({"enabled": True}, True), ({"enabled": False}, False)]
)
def test_switch_of_a_plugin(table: dict[str, bool], on: bool) -> None:
    """A plugin is enabled unless its table disables it; `enabled` is not one of its own options."""
    made = config.merge([("test", {"plugin": {"lamp": table}})])
    assert made.enabled("lamp") is on
    assert made.options("lamp", LampOptions) == LampOptions()


def no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment name no folder."""
    variables = ("CONFIGURATION", "STATE", "RUNTIME")
    for variable in (*(f"{name}_DIRECTORY" for name in variables), "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(variable, raising=False)


def test_paths_of_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those that the service manager passes, the first of several."""
    no_folders(monkeypatch)
    assert not config.is_service()
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", "/etc/vdsm")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/vdsm:/var/lib/other")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/vdsm")
    assert config.is_service()
    assert str(config.default_file()) == "/etc/vdsm/vdsm.toml"
    made = DaemonOptions()
    assert (made.state_dir, made.run_dir) == ("/var/lib/vdsm", "/run/vdsm")


@pytest.mark.parametrize("uid", [0, 1000])
def test_the_user_id_chooses_no_paths(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    """`--system` does, for every user; what the environment names stays, and is as before afterwards."""
    monkeypatch.setattr("os.geteuid", lambda: uid)
    monkeypatch.setenv("HOME", "/home/joe")
    no_folders(monkeypatch)
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/r/vdsm-b")
    with config.system_folders():
        assert str(config.default_file()) == "/etc/vdsm/vdsm.toml"
        assert (DaemonOptions().state_dir, DaemonOptions().run_dir) == ("/var/lib/vdsm", "/r/vdsm-b")
    assert str(config.default_file()) == "/home/joe/.config/vdsm/vdsm.toml"
    assert DaemonOptions().run_dir == "/r/vdsm-b"


def test_folders_of_another_service_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CI runner that is a service passes its folders down; they are as before afterwards."""
    monkeypatch.setenv("HOME", "/home/joe")
    no_folders(monkeypatch)
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/runner")
    assert not config.is_service()
    with config.system_folders():
        assert DaemonOptions().state_dir == "/var/lib/vdsm"
    assert os.environ["STATE_DIRECTORY"] == "/var/lib/runner"
    assert DaemonOptions().state_dir != "/var/lib/runner"


@pytest.mark.parametrize(("uid", "system", "path"), [(0, False, "/etc"), (9, True, "/etc"), (9, False, "/c")])
def test_clients_look_where_their_daemon_is(
    monkeypatch: pytest.MonkeyPatch, uid: int, system: bool, path: str
) -> None:
    """root looks after the system's service, others after their own daemon, unless they say otherwise."""
    no_folders(monkeypatch)
    monkeypatch.setattr("os.geteuid", lambda: uid)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/c")
    with config.folders_of_user(system=system):
        assert str(config.default_file()) == f"{path}/vdsm/vdsm.toml"


def test_paths_of_an_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user's paths lie in the XDG folders, or where these are by default."""
    monkeypatch.setenv("HOME", "/home/joe")
    no_folders(monkeypatch)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert str(config.default_file()) == "/home/joe/.config/vdsm/vdsm.toml"
    assert DaemonOptions().state_dir == "/home/joe/.local/state/vdsm"
    assert DaemonOptions().run_dir == "/home/joe/.local/state/vdsm/run"
    monkeypatch.setenv("XDG_CONFIG_HOME", "/c")
    monkeypatch.setenv("XDG_STATE_HOME", "/s")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/r")
    assert str(config.default_file()) == "/c/vdsm/vdsm.toml"
    assert (DaemonOptions().state_dir, DaemonOptions().run_dir) == ("/s/vdsm", "/r/vdsm")
