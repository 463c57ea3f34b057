"""`vdsm-tool`."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from vdsm_bridge.daemon import main as daemon
from vdsm_bridge.tool import main as tool
from vdsm_bridge.tool.main import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration file."""
    path = tmp_path / "vdsm.toml"
    path.write_text('[daemon]\ngrace = 2\n[access.users]\njoe = "operator"\n[plugin.rest]\nenabled = false\n')
    return path


def test_a_good_configuration(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`config check` lists the files that it has read."""
    assert main(["--config", str(file), "config", "check"]) == 0
    assert capsys.readouterr().out == f"{file}: this configuration can be used\n"


def test_the_file_may_stand_anywhere(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the command, and after it."""
    file.write_text("[daemon]\ngracee = 1")
    assert main(["config", "check", "--config", str(file)]) == 1
    assert main(["--config", str(file), "config", "check"]) == 1
    assert capsys.readouterr().err.count("gracee") == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[daemon]\ngracee = 1", "daemon.gracee: there is no such key; did you mean 'grace'?"),
        ("[plugin.base]\nwatts = 1", "plugin.base.watts: there is no such key"),
        ("[daemon", "(syntax): "),
        (
            "[daemon]\nrequired = ['base', 'pigeon']",
            "daemon.required: cannot use the plugin 'pigeon': it is not installed",
        ),
    ],
)
def test_a_bad_configuration(file: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    """It is one line on standard error with file, key and reason, and exit code 1; plugins' tables too."""
    file.write_text(text)
    assert main(["--config", str(file), "config", "check"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"vdsm-tool: {file}: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("value", ["inf", "nan", "1e300", "-1"])
def test_a_duration_that_cannot_be(file: Path, capsys: pytest.CaptureFixture[str], value: str) -> None:
    """`config check` refuses it as the daemon does."""
    file.write_text(f"[daemon]\ncall_deadline = {value}\n")
    assert main(["--config", str(file), "config", "check"]) == 1
    assert "daemon.call_deadline" in capsys.readouterr().err


def test_config_check_reads_the_token_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A token file that the daemon would refuse is refused: missing, readable by others, malformed."""
    tokens = file.with_name("tokens")
    file.write_text(f'[access]\ntokens = "{tokens}"\n')
    check = ["--config", str(file), "config", "check"]
    assert main(check) == 1
    tokens.write_text("")
    tokens.chmod(0o644)
    assert main(check) == 1
    tokens.chmod(0o600)
    assert main(check) == 0
    tokens.write_text("king joe")
    assert main(check) == 1
    message = capsys.readouterr().err.splitlines()
    for line, reason in zip(
        message, ["No such file", "readable by its owner only", "line 1 is not"], strict=True
    ):
        assert f"{tokens}: access.tokens: " in line
        assert reason in line


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Of `vdsm-tool`, and of the daemon beside it."""
    for parser, name in ((tool.parser(), "vdsm-tool"), (daemon.parser(), "vdsmd")):
        with pytest.raises(SystemExit) as ended:
            parser.parse_args(["--version"])
        assert not ended.value.code
        assert capsys.readouterr().out == f"{name} {metadata.version('vdsm')}\n"


def test_a_table_of_a_plugin_that_is_not_installed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is reported, unless empty, but is no error: a removed package may leave its file."""
    file.write_text("[plugin.pigeon]\nloft = 1\n[plugin.dove]")
    assert main(["--config", str(file), "config", "check"]) == 0
    message = capsys.readouterr().out
    assert "[plugin.pigeon] has no effect: no plugin of this name is installed" in message
    assert "dove" not in message


def test_what_holds(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`config show` prints TOML with the defaults and the file that set a key; it reads back the same."""
    assert main(["--config", str(file), "config", "show"]) == 0
    out = capsys.readouterr().out
    assert f"grace = 2.0  # {file}" in out
    made = tomllib.loads(out)
    assert made["daemon"]["grace"] == 2.0
    assert made["hypervisor"]["uri"] == "qemu:///system"
    assert made["access"]["users"] == {"joe": "operator"}
    assert made["plugin"]["base"] == {"enabled": True}
    again = file.with_name("again.toml")
    again.write_text(out)
    assert main(["--config", str(again), "config", "show"]) == 0
    assert tomllib.loads(capsys.readouterr().out) == made


def test_options_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """`config docs` prints the page of options, or the part of it about one table."""
    assert main(["config", "docs"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("# Options")
    assert "| `keep_days` | number, more than 0, at most 3650 | d | `7.0` | Days after" in page
    for name, title in (("rest", "## [plugin.rest]"), ("daemon", "## [daemon]")):
        assert main(["config", "docs", name]) == 0
        part = capsys.readouterr().out
        assert part.startswith(title)
        assert part.count("## [") == 1
        assert part in page
    assert main(["config", "docs", "demon"]) == 1
    assert "no table 'demon'; its tables are daemon, hypervisor, " in capsys.readouterr().err


def test_the_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`docs` writes every page, and the second time none."""
    arguments = ["docs", "--output", str(tmp_path / "pages"), "--plugins", "base"]
    assert main(arguments) == 0
    pages = {path.name for path in (tmp_path / "pages").iterdir()}
    assert pages == {"errors.md", "events.md", "hooks.md", "options.md", "verbs.md"}
    assert capsys.readouterr().out.count("wrote ") == 5
    assert main(arguments) == 0
    assert capsys.readouterr().out == ""


def test_plugins(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plugin list` shows installed plugins and their configuration."""
    main(["--config", str(file), "plugin", "list"])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "vdsm.verbs" in lines["base"]
    assert lines["base"].split()[-2:] == ["enabled", "-"]
    if "rest" in lines:
        assert lines["rest"].split()[-2:] == ["disabled", "-"]


def test_a_broken_plugin(tmp_path: Path) -> None:
    """It is shown with its reason in one line, and the exit code is 3."""
    info = tmp_path / "lamp-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lamp\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[vdsm.bindings]\nlamp = no_such_lamp:Lamp\n")
    done = subprocess.run(
        [sys.executable, "-m", "vdsm_bridge.tool", "plugin", "list"],
        env={"PYTHONPATH": str(tmp_path), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("lamp"))
    assert line.endswith("broken: ModuleNotFoundError: No module named 'no_such_lamp'")
    assert (done.returncode, done.stderr) == (3, "")


def test_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """`schema` prints every verb with the schemas of its types, as `Host.getVerbs` answers."""
    main(["schema"])
    verbs = {verb["name"]: verb for verb in json.loads(capsys.readouterr().out)}
    (message,) = verbs["Host.echo"]["params"]
    assert message["type"] == {"type": "string", "maxLength": 65536}


@pytest.mark.parametrize(
    "arguments", [[], ["config"], ["polish"], ["token"], ["token", "joe", "admin"], ["docs"]]
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the valid choices."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: vdsm-tool" in capsys.readouterr().err


def test_one_plugin(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plugin show` prints its distribution, its state and its verbs."""
    file.write_text(f'[daemon]\nrun_dir = "{file.parent}"\n[plugin.base]\nenabled = false\n')
    assert main(["plugin", "show", "base", "--config", str(file)]) == 0
    out = capsys.readouterr().out
    for line in (
        "plugin API:    1",
        "entry points:  vdsm_bridge.base:Base (vdsm.verbs)",
        f"configuration: disabled by {file}",
        f"daemon:        No vdsmd runs on {file.parent};",
    ):
        assert line in out
    assert "Host.getPlugins" in out
    assert main(["plugin", "show", "bass"]) == 1
    assert "'bass' is installed; the installed ones are base, hello, " in capsys.readouterr().err


def test_switching_without_a_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is written, and the tool prints when the change takes effect."""
    (tmp_path / "vdsm.toml").write_text(f'[daemon]\nrun_dir = "{tmp_path}/run"\n')
    place = ["--config", str(tmp_path)]
    assert main(["plugin", "disable", "base", *place]) == 0
    file = tmp_path / "conf.d" / "50-plugin-base.toml"
    assert capsys.readouterr().out.startswith(
        f"base is disabled in {file}\nThe change takes effect at the next"
    )
    assert tomllib.loads(file.read_text()) == {"plugin": {"base": {"enabled": False}}}
    assert main(["plugin", "disable", "base", *place]) == 0
    assert capsys.readouterr().out.startswith("base is disabled already\n")
    assert main(["reload", *place]) == 1
    assert f"vdsm-tool: No vdsmd runs on {tmp_path}/run; if it" in capsys.readouterr().err


def test_a_closed_pipe() -> None:
    """A reader who goes away early is no error to talk about."""
    command = [sys.executable, "-m", "vdsm_bridge.tool", "config", "docs"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tool:
        assert tool.stdout is not None
        assert tool.stderr is not None
        tool.stdout.close()
        assert tool.stderr.read() == ""
        assert tool.wait(60) == 1
