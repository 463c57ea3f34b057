"""`vdsmd` that root has started: its account, its helper, and the state of a release that ran as root."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.functional.conftest import absent
from tests.functional.daemon import CONFIG, Daemon
from tests.functional.lab import LabHost, Unusable
from vdsm_bridge.testing.polling import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change to another account")
ACCOUNT = pwd.getpwnam("nobody")
AS_ROOT = CONFIG
AS_ACCOUNT = CONFIG.replace('user = "root"', f'user = "{ACCOUNT.pw_name}"')
REPOSITORY = Path(__file__).parents[2]
PACKAGES = [sysconfig.get_path("purelib"), REPOSITORY, *sorted(REPOSITORY.glob("plugins/*"))]


@pytest.fixture(scope="module")
def command() -> Iterator[list[str]]:
    """How `vdsmd` is started by a Python that the account can run: that of the tests may be root's own."""
    with open_folder() as environment:
        yield [python_in(environment), "-m", "vdsm_bridge.daemon"]


def python_in(environment: Path) -> str:
    """Make a virtual environment with what is installed here, of a Python that the account can run."""
    same = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{same}", f"/usr/local/bin/{same}"):
        make = [candidate, "-m", "venv", "--without-pip", "--clear", environment]
        if not Path(candidate).exists() or subprocess.run(make, check=False, capture_output=True).returncode:
            continue
        (packages,) = environment.glob("lib/*/site-packages")
        (packages / "tried.pth").write_text("\n".join(map(str, PACKAGES)))
        python = str(environment / "bin" / "python")
        check = [python, "-c", "import os, vdsm_bridge.daemon.main, vdsm_rest, vdsm_virt; print(os.__file__)"]
        mine = subprocess.run(check, cwd="/", capture_output=True, check=False)
        drop = ["setpriv", f"--reuid={ACCOUNT.pw_uid}", f"--regid={ACCOUNT.pw_gid}", "--clear-groups"]
        its = subprocess.run([*drop, *check], cwd="/", capture_output=True, check=False)
        # Where it may not execute this Python, another one can be found in its place.
        if its.returncode == 0 and its.stdout == mine.stdout:
            return python
    pytest.skip(f"no Python here can be run by the account '{ACCOUNT.pw_name}'")


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that others may look into: pytest shuts its own to them."""
    with TemporaryDirectory(prefix="vdsm-privileged-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    """The folder of one daemon."""
    with open_folder() as folder:
        yield folder


def status(pid: int) -> dict[str, str]:
    """What the kernel says of a process."""
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (row.partition(":") for row in rows)}


def children(parent: int) -> Iterator[tuple[int, str]]:
    """The processes that a process has started, with their names."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            before, _, after = path.read_text().rpartition(")")
            if after.split()[1] == str(parent):
                yield int(path.parent.name), before.partition("(")[2]


@pytest.mark.parametrize("config", [AS_ROOT, AS_ACCOUNT], ids=["root", "account"])
def test_the_daemon_and_its_helper(folder: Path, config: str, command: list[str]) -> None:
    """The daemon has no capability; its helper is root's, and ends with it, however that ends."""
    uid = 0 if config is AS_ROOT else ACCOUNT.pw_uid
    daemon = Daemon(folder, "test:///default", config)
    daemon.command = command
    for end in (daemon.stop, daemon.kill):
        daemon.start()
        try:
            assert len(daemon.rest("GET", "/api/vms")) == 1
            found = status(daemon.pid)
            assert set(found["Uid"].split()) == {str(uid)}
            assert {int(found[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}
            supervisor = supervisor_of(daemon)
            assert status(supervisor)["Uid"].split()[0] == "0"
        finally:
            end()
        until(lambda supervisor=supervisor: not Path(f"/proc/{supervisor}").exists())


def supervisor_of(daemon: Daemon) -> int:
    """The process that keeps the daemon's helper."""
    until(lambda: [name for _, name in children(daemon.pid)] == ["vdsm-helper-sup"], detail=daemon.log)
    ((supervisor, _),) = children(daemon.pid)
    return supervisor


def test_a_helper_that_is_killed_costs_nothing(folder: Path, command: list[str]) -> None:
    """Facts that only root reads are read by the helper, before and after a kill, and a reload renews it."""
    daemon = Daemon(folder, "test:///default", AS_ACCOUNT)
    daemon.command = command
    with daemon:
        supervisor = supervisor_of(daemon)
        os.kill(daemon.pid, signal.SIGHUP)
        until(lambda: "The configuration was applied" in daemon.log(), detail=daemon.log)
        for _ in range(3):
            workers = [pid for pid, name in children(supervisor) if name == "vdsm-helper"]
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
            assert daemon.rest("GET", "/api/host/hardware-info") is not None
            until(lambda: children(supervisor), detail=daemon.log)
        plugins = daemon.rest("GET", "/api/host/plugins")
        rows = [each for each in plugins if each["group"] == "vdsm.privileged"]
        assert {row["name"] for row in rows} >= {"virt"}
        assert {(row["state"], row.get("error", "")) for row in rows} == {("running", "")}


def test_an_upgrade_while_machines_run(folder: Path, command: list[str]) -> None:
    """A release that ran as root leaves its state and a running QEMU; the account finds both, untouched."""
    try:
        host = LabHost.open()
    except Unusable as unusable:
        absent(str(unusable))
    with host:
        vm_id = str(uuid.uuid4())
        machine = {"vmId": vm_id, "vmName": "runs-on", "memSize": 32, "kvmEnable": "false", "display": "vnc"}
        with Daemon(folder, host.uri, AS_ROOT) as before:
            before.xmlrpc("create", machine)
            until(lambda: vm_id in host.virsh("list", "--uuid"), detail=before.log)
        emulator = host.qemu_pid(vm_id)
        assert {path.stat().st_uid for path in (folder / "state").iterdir()} == {0}
        # As libvirt's packages do it: the socket is for a group.
        host.root.chmod(0o711)
        socket = host.root / "run" / "libvirt-sock"
        os.chown(socket, 0, ACCOUNT.pw_gid)
        socket.chmod(0o770)
        after = Daemon(folder, host.uri, AS_ACCOUNT)
        after.command = command
        with after:
            assert status(after.pid)["Uid"].split()[0] == str(ACCOUNT.pw_uid)
            until(lambda: [vm["vmId"] for vm in listed(after)] == [vm_id], detail=after.log)
            assert {path.stat().st_uid for path in (folder / "state").iterdir()} == {ACCOUNT.pw_uid}
            assert host.qemu_pid(vm_id) == emulator
            assert after.xmlrpc("destroy", vm_id) is not None
            until(lambda: host.virsh("list", "--uuid").strip() == "")


def listed(daemon: Daemon) -> list[dict[str, str]]:
    """The machines, or none while the daemon does not know them yet."""
    try:
        machines: list[dict[str, str]] = daemon.rest("GET", "/api/vms")
    except Exception as error:
        if "recovering" not in str(error):
            raise
        return []
    return machines
