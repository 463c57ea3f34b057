"""The account of the daemon, where root has started it. Giving up root is tried in processes of its own."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.daemon import account
from vdsm_core import config
from vdsm_core.errors import ConfigError
from vdsm_core.privileged import capabilities

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change to another account")
REPOSITORY = Path(__file__).parents[3]
NOBODY = pwd.getpwnam("nobody")
#: Leave root, then tell what is left; everything is imported before, as that account may not read it.
PROGRAM = """
import json, logging, os, sys
from pathlib import Path
from vdsm_bridge.daemon import account
from vdsm_core import config
from vdsm_core.errors import VdsmError
from vdsm_core.privileged import operations_of
from vdsm_core.privileged.client import PrivilegedClient
from vdsm_virt import privileged as virt

logging.basicConfig(level="INFO", format="%(levelname)s %(message)s")
place = Path(sys.argv[1])
account._check_code = lambda _: None
helper = account.leave_root(config.load(place), place)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
names = ("Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs")
found = {name: status[name].strip() for name in names}
try:
    os.setuid(0)
    found["root again"] = os.getuid() == 0
except OSError:
    found["root again"] = False
try:
    os.chown(sys.argv[1], 12345, -1)
    found["chown"] = True
except OSError:
    found["chown"] = False
if helper is not None:
    client = PrivilegedClient(helper.address)
    client.register("virt", operations_of(virt))
    found["serial"] = client.run(virt.read_firmware).product_serial
    client.close()
    helper.stop(20)
print(json.dumps(found))
"""


def left(folder: Path, options: str, **variables: str) -> tuple[dict[str, Any], str]:
    """What a process is after it has left root, and what it has logged."""
    place = folder / "vdsm.toml"
    place.write_text(f'[daemon]\nstate_dir = "{folder}/state"\nrun_dir = "{folder}/run"\n{options}\n')
    folder.chmod(0o755)
    command = [sys.executable, "-c", PROGRAM, str(place)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env={**os.environ, **variables}
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.stderr


def serial() -> str:
    """What root reads."""
    file = Path("/sys/class/dmi/id/product_serial")
    return file.read_text().strip() if file.exists() else ""


@as_root
def test_it_changes_to_the_account(tmp_path: Path) -> None:
    """Its user and groups for good, no capability, no way back; the helper serves it."""
    (tmp_path / "state").mkdir()
    found, log = left(tmp_path, 'user = "nobody"\ngroups = ["games", "no such group"]')
    ids = [str(NOBODY.pw_uid)] * 4
    assert found["Uid"].split() == ids
    assert found["Gid"].split() == [str(NOBODY.pw_gid)] * 4
    games = grp.getgrnam("games").gr_gid
    assert {int(each) for each in found["Groups"].split()} == {NOBODY.pw_gid, games}
    assert {int(found[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}
    assert found["NoNewPrivs"] == "1"
    assert (found["root again"], found["chown"]) == (False, False)
    assert found["serial"] == serial()
    assert "INFO Running as the account 'nobody'" in log
    assert "caller='vdsm' flow='' operation=virt.read_firmware outcome=ok" in log


@as_root
def test_it_stays_root_without_capabilities(tmp_path: Path) -> None:
    """Where the configuration says so: what is not root's it cannot change."""
    found, log = left(tmp_path, 'user = "root"')
    assert found["Uid"].split() == ["0"] * 4
    assert {int(found[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}
    assert (found["NoNewPrivs"], found["chown"], found["serial"]) == ("1", False, serial())
    assert "RUNNING AS ROOT" not in log


@as_root
def test_the_folders_of_an_earlier_release_are_handed_over(tmp_path: Path) -> None:
    """With all that is root's in them; links are not followed, files of several names and of others stay."""
    state = tmp_path / "state"
    (state / "below").mkdir(parents=True)
    for name in ("state.sqlite", "below/audit.log"):
        (state / name).write_text("kept")
    (tmp_path / "secret").write_text("root's")
    (tmp_path / "twice").write_text("root's")
    (state / "link").symlink_to(tmp_path / "secret")
    (state / "twice").hardlink_to(tmp_path / "twice")
    (state / "other").write_text("")
    os.chown(state / "other", 12345, 12345)
    _, log = left(tmp_path, 'user = "nobody"')
    owners = {
        path.relative_to(tmp_path).as_posix(): path.lstat().st_uid
        for path in (state, *state.rglob("*"), tmp_path / "secret", tmp_path / "run")
    }
    assert owners == {
        "state": NOBODY.pw_uid,
        "state/state.sqlite": NOBODY.pw_uid,
        "state/below": NOBODY.pw_uid,
        "state/below/audit.log": NOBODY.pw_uid,
        "state/link": NOBODY.pw_uid,
        "state/twice": 0,
        "state/other": 12345,
        "secret": 0,
        "run": NOBODY.pw_uid,
    }
    assert "state and 4 files in it belong to the account 'nobody' now" in log
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o750
    assert left(tmp_path, 'user = "nobody"')[1].count("belong to the account") == 0


@pytest.mark.parametrize("folder", ["/", "/etc", "/var/lib", "/var/../etc"])
def test_a_folder_of_the_system_is_not_given_away(folder: str) -> None:
    """A mistake in the configuration is an error that says so."""
    with pytest.raises(OSError, match="it is a folder of the system"):
        account._check_path(Path(folder))


def test_code_that_the_account_cannot_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of root's are left out of the path of imports; without Python itself there is no start."""
    monkeypatch.setattr("sys.path", ["/open", "/shut"])
    monkeypatch.setattr("site.ENABLE_USER_SITE", True)
    monkeypatch.setattr("os.access", lambda path, _: path != "/shut")
    account._check_code(NOBODY)
    assert sys.path == ["/open"]
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ConfigError, match=r"the account 'nobody' cannot read .*python.* Name one that can"):
        account._check_code(NOBODY)


def made(**options: Any) -> config.Config:
    """A configuration in which these options were set."""
    return config.merge([("vdsm.toml", {"daemon": options})])


def as_if_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the account be looked up, and nothing be changed."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(account, "_start_helper", lambda *_: None)
    monkeypatch.setattr(capabilities, "limit", lambda _: 0)
    monkeypatch.setattr(capabilities, "limit_bounding", lambda _: None)
    for variable in ("CONFIGURATION_DIRECTORY", "STATE_DIRECTORY", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(variable, raising=False)


def test_an_account_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named in the configuration, or in a service, it is an error that says what to do."""
    as_if_root(monkeypatch)
    said = "vdsm.toml: daemon.user: there is no account 'nobody-here'. Create it, for example with `useradd"
    with pytest.raises(ConfigError, match=said):
        account.leave_root(made(user="nobody-here"), None)
    monkeypatch.setattr("pwd.getpwnam", missing)
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/vdsm")
    with pytest.raises(ConfigError, match="there is no account 'vdsm'"):
        account.leave_root(made(), None)


def missing(name: str) -> None:
    """No account is there."""
    raise KeyError(name)


def test_a_machine_without_the_account(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """Where nobody has named one, root stays, without capabilities, and a loud line says so."""
    as_if_root(monkeypatch)
    monkeypatch.setattr("pwd.getpwnam", missing)
    account.leave_root(made(), None)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("RUNNING AS ROOT, without capabilities: there is no account 'vdsm'")


def test_an_ordinary_user_stays_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no helper of its own; nothing is looked up."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("pwd.getpwnam", missing)
    assert account.leave_root(made(user="nobody-here"), None) is None


def test_another_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the configuration names its socket, none is started."""
    as_if_root(monkeypatch)
    monkeypatch.undo()
    chosen = made(helper_socket="/run/mine")
    assert account._start_helper(chosen, pwd.getpwuid(0), None) is None
