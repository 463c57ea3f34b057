"""sdists and wheels: each stands alone, and two builds of them are equal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.packaging.environment import Environment
from vdsm_bridge.testing.polling import until

ROOT = Path(__file__).parents[2]
#: A build takes ten seconds, and ten times that beside other builds.
pytestmark = pytest.mark.timeout(600)
NAMES = {"vdsm", "vdsmsh", "vdsm_hooks", "vdsm_http", "vdsm_virt", "vdsm_rest", "vdsm_xmlrpc", "vdsm_qmf"}
#: Seconds for the daemon to come up on a busy machine.
PATIENCE = 60.0


def build(folder: Path, umask: int = 0o022, **variables: str) -> dict[str, Path]:
    """Every file of a build, by its name."""
    subprocess.run(
        [sys.executable, ROOT / "packaging" / "dist.py", folder],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **variables},
        umask=umask,
        timeout=500,
    )
    return {file.name: file for file in folder.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One build of all distributions."""
    return build(tmp_path_factory.mktemp("built"))


def wheel(built: dict[str, Path], name: str) -> Path:
    (found,) = (file for file in built.values() if file.suffix == ".whl" and file.name.split("-")[0] == name)
    return found


def test_each_has_an_sdist_and_a_wheel(built: dict[str, Path]) -> None:
    """The host and every plugin; each with the licence, its types and its sources."""
    assert {name.split("-")[0] for name in built if name.endswith(".whl")} == NAMES
    assert {name.split("-")[0] for name in built if name.endswith(".tar.gz")} == NAMES
    for name, file in built.items():
        if name.endswith(".whl"):
            with zipfile.ZipFile(file) as archive:
                held = archive.namelist()
        else:
            with tarfile.open(file) as archive:
                held = archive.getnames()
                assert all(not entry.issym() for entry in archive.getmembers()), "links lead out of an sdist"
        assert any(path.endswith("/COPYING") for path in held), name
        assert any(path.endswith("/py.typed") for path in held), name


def test_two_builds_are_equal(built: dict[str, Path], tmp_path: Path) -> None:
    """Byte for byte, whatever the umask, the time zone, the folder and the time of the build."""
    again = build(tmp_path / "again", umask=0o077, TZ="Asia/Tokyo", LC_ALL="C")
    assert sorted(again) == sorted(built)
    assert [name for name, file in again.items() if file.read_bytes() != built[name].read_bytes()] == []


def test_the_host_alone(built: dict[str, Path], tmp_path: Path) -> None:
    """Without any plugin vdsmd starts, warns that it cannot be called, and stops on request."""
    environment = Environment(tmp_path / "venv")
    environment.make()
    environment.install(wheel(built, "vdsm"))
    environment.borrow(environment.needs("vdsm"))
    assert not {"cheroot", "CherryPy", "cliff", "python-qpid-proton", "vdsm-rest"} & {*environment.contents()}
    config = tmp_path / "vdsm.toml"
    config.write_text(
        f'[daemon]\nstate_dir = ":memory:"\nrun_dir = "{tmp_path}/run"\n[hypervisor]\nuri = "test:///default"\n'
    )
    log = tmp_path / "log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [environment.folder / "bin" / "vdsmd", "--config", config],
            cwd=tmp_path,
            env=environment.variables(),
            stderr=output,
        )
    try:

        def ready() -> bool:
            assert daemon.poll() is None, log.read_text()
            return "Ready with" in log.read_text()

        until(ready, PATIENCE, every=0.05, detail=log.read_text)
    finally:
        daemon.send_signal(signal.SIGTERM)
        code = daemon.wait(PATIENCE)
    assert code == 0
    assert "No binding runs: this host cannot be called" in log.read_text()
    assert "listening on nothing" in log.read_text()
    listed = subprocess.run(
        [environment.folder / "bin" / "vdsm-tool", "plugin", "list", "--config", config],
        env=environment.variables(),
        check=True,
        capture_output=True,
        text=True,
    )
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["NAME", "base"]
