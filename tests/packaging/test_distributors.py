"""The packaging files agree with the code; `make packages` builds and installs them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.tree import Plugin, Tree
from vdsm_core import config
from vdsm_core.plugins import PRIVILEGED, discover
from vdsm_core.privileged import operations_of
from vdsm_core.privileged.capabilities import names_of
from vdsm_core.privileged.server.registry import Registry

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
TREE = Tree(ROOT)
VERSION = TREE.metadata["project"]["version"]
CONTROL = (PACKAGING / "debian" / "control").read_text()
HELPER = (PACKAGING / "system" / "vdsm-helper.service").read_text()
SOCKET = (PACKAGING / "system" / "vdsm-helper.socket").read_text()
SYSUSERS = (PACKAGING / "system" / "vdsm.sysusers").read_text()
UNIT = (PACKAGING / "system" / "vdsmd.service").read_text()


def stanzas() -> dict[str, str]:
    """The fields of each package in debian/control."""
    return {text.split(maxsplit=2)[1]: text for text in CONTROL.split("\n\n") if text.startswith("Package: ")}


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that packages have besides Python code."""
    folder = tmp_path_factory.mktemp("root")
    subprocess.run([PACKAGING / "install-files", folder], check=True)
    return folder


def test_manuals_and_completions_are_fresh() -> None:
    """They say what the parsers and options say."""
    done = subprocess.run(
        [sys.executable, PACKAGING / "manuals.py", "--check"], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), f"{done.stdout}{done.stderr}run: make docs"


def test_manuals_are_complete() -> None:
    """Each command, file of the configuration and plugin that is no command has its page."""
    pages = {path.name for path in (ROOT / "docs" / "man").iterdir()}
    plugins = {
        f"{plugin.distribution}.7"
        for plugin in TREE.plugins
        if plugin.folder.name != "vdsmsh" and not plugin.is_library
    }
    ours = {"vdsmd.8", "vdsm-helper.8", "vdsm-tool.8", "vdsmsh.1", "vdsm.toml.5"}
    assert pages == ours | plugins


def test_one_debian_package_a_distribution() -> None:
    """Debian has a package for each, and one for all."""
    assert set(stanzas()) == {"vdsm", "vdsm-core", *(plugin.distribution for plugin in TREE.plugins)}
    assert all("Depends: vdsm-core (= ${source:Version})" in stanzas()[p.distribution] for p in TREE.plugins)


def test_debian_rules_know_each_plugin() -> None:
    """A plugin that is added is packaged, or this fails."""
    rules = (PACKAGING / "debian" / "rules").read_text()
    (listed,) = re.findall(r"foreach plugin,([\w ]+),", rules)
    assert {*listed.split(), "vdsmsh"} == {plugin.folder.name for plugin in TREE.plugins}


def test_debian_names_of_dependencies() -> None:
    """The Python and Debian names of each dependency are listed."""
    lines = (PACKAGING / "debian" / "py3dist-overrides").read_text().splitlines()
    known = {canonicalize_name(line.split()[0]) for line in lines}
    metadata = [TREE.metadata, *(plugin.metadata for plugin in TREE.plugins)]
    needed = {Requirement(text).name for each in metadata for text in each["project"]["dependencies"]}
    assert known == {canonicalize_name(name) for name in needed}


def test_debian_version() -> None:
    """The newest entry of Debian's changelog is of our version."""
    assert (PACKAGING / "debian" / "changelog").read_text().startswith(f"vdsm ({VERSION}-")


def test_every_file_belongs_to_a_package(laid_out: Path) -> None:
    """Each file that is laid out is named, itself or its folder, by exactly one Debian package."""
    named = {
        line.replace("vendor-completions", "site-functions"): package.stem
        for package in (PACKAGING / "debian").glob("*.install")
        for line in package.read_text().split()
    }
    for file in filter(Path.is_file, laid_out.rglob("*")):
        path = str(file.relative_to(laid_out))
        owners = {owner for line, owner in named.items() if path == line or path.startswith(f"{line}/")}
        assert len(owners) == 1, path
    assert [line for line in named if not (laid_out / line).exists()] == []


def test_the_example_configuration_can_be_used(laid_out: Path) -> None:
    """As it is, it only sets the socket; with all lines uncommented, it is valid, too."""
    folder = laid_out / "etc" / "vdsm"
    assert config.load(folder).plugin == {
        "hooks": {},
        "qmf": {},
        "rest": {"socket": "/run/vdsm/api.sock"},
        "virt": {},
        "xmlrpc": {},
    }
    documents = [
        (file.name, tomllib.loads(re.sub(r"^#(\w+ = )", r"\1", file.read_text(), flags=re.MULTILINE)))
        for file in (folder / "vdsm.toml", *sorted((folder / "conf.d").iterdir()))
    ]
    loaded = config.merge(documents)
    assert loaded.daemon.required == ("virt",)
    assert loaded.plugin["qmf"]["brokers"]


@pytest.mark.parametrize("plugin", TREE.plugins, ids=lambda plugin: plugin.folder.name)
def test_the_examples_of_plugins_can_be_used(laid_out: Path, plugin: Plugin) -> None:
    """The plugin itself takes its options, those in comments, too."""
    file = laid_out / f"etc/vdsm/conf.d/10-{plugin.folder.name}.toml"
    if plugin.folder.name == "vdsmsh" or plugin.is_library:
        assert not file.exists(), "a command line has no table, nor has a library"
        return
    file.write_text(re.sub(r"^#(\w+ = )", r"\1", file.read_text(), flags=re.MULTILINE))
    done = subprocess.run(
        [Path(sys.executable).parent / "vdsm-tool", "config", "check", "--config", file],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_starts_what_is_there() -> None:
    """The unit's commands are scripts of ours, and its folders those of the configuration."""
    commands = re.findall(r"^Exec\w+=/usr/sbin/(\S+)", UNIT, re.MULTILINE)
    assert set(commands) <= set(TREE.metadata["project"]["scripts"])
    assert commands == ["vdsmd", "vdsm-tool"]
    assert re.findall(r"^ExecStart=/usr/sbin/(\S+)", HELPER, re.MULTILINE) == ["vdsm-helper"]
    assert f"ListenStream={config.SYSTEM_HELPER}\n" in SOCKET
    assert f"User={config.SERVICE_ACCOUNT}\n" in UNIT
    assert f"SocketUser={config.SERVICE_ACCOUNT}\n" in SOCKET
    assert f"StateDirectory={Path(config.SYSTEM_STATE).name}" in UNIT
    assert f"RuntimeDirectory={Path(config.SYSTEM_RUN).name}" in UNIT


def test_each_option_of_the_unit_that_is_left_open_is_explained() -> None:
    """What `systemd-analyze security` holds against the unit has its reason there."""
    for option in (
        "PrivateDevices",
        "PrivateNetwork",
        "PrivateUsers",
        "ProtectProc",
        "ProcSubset",
        "ProtectHostname",
        "ProtectHome",
        "IPAddressDeny",
    ):
        assert option in UNIT


def test_the_helper_may_do_what_its_operations_declare() -> None:
    """The unit grants the union of the operations that we ship, and its plugins' drop-ins, and no more."""
    registry = Registry()
    for plugin in discover(PRIVILEGED):
        registry.add(plugin.name, operations_of(plugin.loaded))
    drop_ins = [file.read_text() for file in sorted((PACKAGING / "system").glob("10-*.conf"))]
    granted = {
        name
        for unit in (HELPER, *drop_ins)
        for line in re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
        for name in line.split()
    }
    assert granted == set(names_of(registry.capabilities))


def test_accounts() -> None:
    """The daemon may use libvirt; what runs the code of others is in no group of the daemon's."""
    accounts = set(re.findall(r"^u (\S+) ", SYSUSERS, re.MULTILINE))
    members = set(re.findall(r"^m (\S+) (\S+)$", SYSUSERS, re.MULTILINE))
    assert accounts == {config.SERVICE_ACCOUNT, "vdsm-hooks", "vdsm-imageio"}
    assert members == {(config.SERVICE_ACCOUNT, group) for group in config.DaemonOptions().groups}
