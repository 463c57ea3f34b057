"""An upgrade from the last release whose daemon was root, with machines that run meanwhile."""

from __future__ import annotations

import hashlib
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import deb
import pytest
import source
from folder import ENVIRONMENT, Folder

from .conftest import WORK
from .installed import Daemon, ask

pytestmark = pytest.mark.timeout(1800)

#: The last commit whose daemon ran as root.
OF_ROOT = "83893a745a471ec1ad997df098b1b6765d95fd4d"
NAMES = ("vdsm-core", "vdsm-virt", "vdsm-rest", "vdsm-xmlrpc", "vdsmsh")
HYPERVISOR = ("libvirt-daemon-system", "libvirt-daemon-driver-qemu", "libvirt-clients", "qemu-system-x86")
#: How the unit of that release started it: root, without any capability.
AS_ROOT = "umask 027; exec setpriv --bounding-set=-all --no-new-privs --regid=vdsm --clear-groups vdsmd"
#: A container may refuse control groups and further namespaces; the guests need neither.
QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""
#: Its socket is for its group; without this it asks polkit, which there is none of.
LIBVIRTD_CONF = """\
unix_sock_group = "libvirt"
unix_sock_rw_perms = "0770"
auth_unix_rw = "none"
"""
#: The shell stays as the first process of its namespace: libvirtd waits for its own probes to be reaped.
LIBVIRTD = "mount -t proc proc /proc; mount -t sysfs sys /sys; libvirtd & wait"
#: Where /dev/kvm exists but runs no guest, emulation does.
CONFIG = """
[access]
tokens = "/etc/vdsm/tokens"
[plugin.virt]
accelerator = "tcg"
"""
TOKEN = "of-an-earlier-release"
_PATIENCE = 120.0
_RECOVERING = 503


@pytest.fixture(scope="session")
def earlier(builder: Folder) -> list[str]:
    """The packages of that release, built from its source; their paths in a host."""
    if not source.has(OF_ROOT):
        pytest.skip("a shallow clone: the source of the earlier release is not in it")
    deb.earlier(builder, WORK / "earlier", OF_ROOT)
    return [f"/earlier/{name}.deb" for name in NAMES]


@contextmanager
def libvirtd(host: Folder) -> Iterator[None]:
    """The hypervisor of a host, which outlives its daemons."""
    (host.root / "etc/libvirt/qemu.conf").write_text(QEMU_CONF)
    (host.root / "etc/libvirt/libvirtd.conf").write_text(LIBVIRTD_CONF)
    log = host.root / "var/log/libvirtd.log"
    alone = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*alone, "chroot", str(host.root), "sh", "-c", LIBVIRTD],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + _PATIENCE
        while not (host.root / "run/libvirt/libvirt-sock").exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(_PATIENCE)


def test_with_running_machines(host: Folder, earlier: list[str], config: Path) -> None:
    """Machines run through it; they, the state, the events and the secrets are the new daemon's."""
    (host.root / "earlier").mkdir()
    for file in (WORK / "earlier").iterdir():
        (host.root / "earlier" / file.name).hardlink_to(file)
    host.install(*HYPERVISOR, *earlier)
    (host.root / config).write_text(CONFIG)
    tokens = host.root / "etc/vdsm/tokens"
    tokens.write_text(f"admin joe {hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    tokens.chmod(0o600)
    daemon = Daemon(host)
    with libvirtd(host):
        with daemon.running(AS_ROOT):
            assert set(daemon.status()["Uid"].split()) == {"0"}
            for name in ("one", "two"):
                daemon.call("vdsmsh", "vm", "create", "--name", name, "--memory", "64")
            daemon.until(lambda: set(_statuses(host)) == {"Up"})
            pids = _guests(host)
            assert len(pids) == 2
        before = _events(host)
        assert _owner(host, "/var/lib/vdsm/events.sqlite") == "root"

        host.install(*(f"/packages/{name}.deb" for name in (*NAMES, "vdsm-http")))
        assert _owner(host, "/etc/vdsm/tokens") == "vdsm"
        with daemon.running():
            account = host.run("id", "-u", "vdsm").strip()
            assert set(daemon.status()["Uid"].split()) == {account}
            daemon.until(lambda: _statuses(host) == ["Up", "Up"])
            assert _guests(host) == pids
            with_token = f"""urllib.request.urlopen(urllib.request.Request(
                "http://127.0.0.1:8088/api/vms", headers={{"Authorization": "Bearer {TOKEN}"}})).status"""
            assert daemon.python(with_token) == 200
            assert host.run("find", "/var/lib/vdsm", "/run/vdsm", "!", "-user", "vdsm").split() == []
            after = _events(host)
            assert after[: len(before)] == before
            # The new daemon governs the machines of the old one.
            daemon.call("vdsmsh", "vm", "destroy", "one")
            assert len(_guests(host)) == 1


def _statuses(host: Folder) -> list[str]:
    """The statuses of the machines; none while the daemon has not read them yet."""
    status, machines = ask(host.root / "run/vdsm", "/api/vms")
    if status == _RECOVERING:
        return []
    assert status == 200
    return sorted(machine["status"] for machine in machines)


def _guests(host: Folder) -> set[int]:
    """The process ids of the emulators of this host."""
    found = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            program, root = (folder / "exe").readlink(), (folder / "root").readlink()
            is_guest = b"guest=" in (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if is_guest and program.name.startswith("qemu-system") and root == host.root:
            found.add(int(folder.name))
    return found


def _owner(host: Folder, path: str) -> str:
    return host.run("stat", "-c", "%U", path).strip()


def _events(host: Folder) -> list[int]:
    """The numbers of the events in the journal."""
    with closing(sqlite3.connect(host.root / "var/lib/vdsm/events.sqlite")) as journal:
        return [number for (number,) in journal.execute("SELECT seq FROM events ORDER BY seq")]
