"""The lab's host: a private libvirtd, started, restarted and ended by the tests."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.functional.lab.certificates import write_certificates
from vdsm_bridge.tool.pki_authority import Authority

KEEPER = Path(__file__).with_name("keeper.py")
HANGING = Path(__file__).with_name("hanging.py")
PROGRAMS = (
    "libvirtd",
    "virsh",
    "qemu-system-x86_64",
    "qemu-img",
    "ip",
    "nsenter",
    "unshare",
    "busybox",
    "cpio",
    "apt-get",
)
BRIDGE = "lab0"

LIBVIRTD_CONF = """\
host_uuid = "{host_uuid}"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
#: For libvirt on other hosts of the same lab. Only their network leads here.
LISTENING_CONF = """\
listen_tls = 1
listen_tcp = 1
listen_addr = "0.0.0.0"
auth_tcp = "none"
"""
#: A lost host is noticed after this many seconds times one more than the count, instead of half a minute.
LISTENING_QEMU_CONF = """\
migrate_tls_x509_verify = 1
keepalive_interval = 2
keepalive_count = 4
"""
# A container may refuse control groups and further namespaces; the guests need neither.
QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
dynamic_ownership = 0
remember_owner = 0
"""
#: Stands in for a QEMU that takes its time to start.
HOLD = """\
#!/bin/sh
: >{root}/asked
until [ -e {root}/go ]; do sleep 0.1; done
export QEMU_MODULE_DIR={modules}
exec {real} -L /usr/share/qemu "$@"
"""


@dataclass(frozen=True)
class HangingDisk:
    """A disk image whose reads and writes hang while `hold` exists."""

    path: Path
    hold: Path


class Unusable(RuntimeError):
    """The lab did not start; the message has the reason."""


def why_unusable() -> str | None:
    """What keeps the lab from running on this machine; None when nothing is known to."""
    if os.geteuid() != 0:
        return "needs root (namespaces, a bridge)"
    if platform.machine() != "x86_64":
        return "the lab's guest is built for x86_64"
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    if missing := [name for name in PROGRAMS if shutil.which(name, path=path) is None]:
        return f"not installed: {', '.join(missing)} (make setup)"
    return None


class LabHost:
    """A libvirtd with folders, bridge and processes of its own.

    Use it as a context manager. Nothing of it outlives the block, nor the test process.
    """

    def __init__(self, root: Path, keeper: subprocess.Popen[str]) -> None:
        self.root = root
        self._keeper = keeper
        #: The network namespace, by the name that the kernel gives it; known once it is made.
        self._network = Path()

    @classmethod
    def open(cls) -> Self:
        """Make the namespaces and start libvirtd in them.

        :raises Unusable: this machine does not allow it
        """
        host = cls.prepare()
        try:
            host.start()
        except BaseException:
            host.close()
            raise
        return host

    @classmethod
    def prepare(
        cls, name: str = "lab", addresses: Sequence[str] = (), authority: Authority | None = None
    ) -> Self:
        """Make the namespaces; nothing runs in them yet.

        :param name: what the host calls itself
        :param addresses: its own in the lab, where its libvirtd listens for others
        :param authority: makes its certificates, for these addresses
        :raises Unusable: this machine does not allow it
        """
        # Not below the checkout: the path of a unix socket may have 107 characters.
        root = Path(tempfile.mkdtemp(prefix="vdsm-lab-"))
        for folder in ("etc", "disks"):
            (root / folder).mkdir()
        conf = LIBVIRTD_CONF.format(host_uuid=uuid.uuid4())
        conf += LISTENING_CONF if addresses else ""
        (root / "etc/libvirtd.conf").write_text(conf)
        (root / "etc/qemu.conf").write_text(QEMU_CONF + (LISTENING_QEMU_CONF if addresses else ""))
        if authority is not None:
            write_certificates(root / "pki", authority, name, addresses)
        with (root / "keeper.err").open("w") as errors:
            keeper = subprocess.Popen(
                ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc",
                 sys.executable, str(KEEPER), str(root), name, *(["--listen"] if addresses else [])],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                start_new_session=True,
            )  # fmt: skip
        host = cls(root, keeper)
        try:
            host._expect("ready")
            host._network = Path(f"/proc/{keeper.pid}/ns/net").readlink()
        except BaseException:
            host.close()
            raise
        return host

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def uri(self) -> str:
        """How libvirt's clients outside the namespaces reach this host."""
        return f"qemu+unix:///system?socket={self.root}/run/libvirt-sock"

    @property
    def namespaces(self) -> int:
        """A process that is in its network namespace."""
        return self._keeper.pid

    def start(self, within: float = 30.0, *, question: str = "version") -> None:
        """Start libvirtd and wait until it answers.

        :param within: seconds
        :param question: what virsh asks; to answer the usual one, libvirtd examines its emulators
        :raises Unusable: it does not
        """
        self._tell("start")
        deadline = time.monotonic() + within
        while (answer := self._virsh(question)).returncode:
            if time.monotonic() > deadline:
                raise Unusable(f"libvirtd does not answer: {answer.stderr.strip()}\n{self.log()}")
            time.sleep(0.1)

    def stop(self, *, abruptly: bool = False) -> None:
        """End libvirtd by SIGTERM, or `abruptly` by SIGKILL. Guests run on."""
        self._tell("kill" if abruptly else "stop")

    def hold_emulators(self) -> Callable[[], bool]:
        """Let each QEMU that is started wait for the file `go` in the lab's folder.

        :returns: a function that returns whether one has been started
        """
        # Started by another path, QEMU looks for its modules beside that.
        modules = next((str(file.parent) for file in Path("/usr/lib").glob("*/qemu/accel-*.so")), "")
        for path in Path("/usr/bin").glob("qemu-system-*"):
            real, script = self.root / f"real-{path.name}", self.root / f"hold-{path.name}"
            real.touch()
            script.write_text(HOLD.format(root=self.root, real=real, modules=modules))
            script.chmod(0o755)
            mounts = f"mount --bind {path} {real} && mount --bind {script} {path}"
            target = ["--target", str(self.namespaces), "--mount"]
            subprocess.run(["nsenter", *target, "sh", "-c", mounts], check=True)
        return (self.root / "asked").exists

    def virsh(self, *arguments: str) -> str:
        """What virsh(1) prints.

        :raises subprocess.CalledProcessError: libvirt refuses
        """
        answer = self._virsh(*arguments)
        answer.check_returncode()
        return answer.stdout

    def answers(self, *arguments: str) -> bool:
        """Whether virsh(1) succeeds."""
        return self._virsh(*arguments).returncode == 0

    def statistics(self, domain: str) -> dict[str, int]:
        """The numbers among `virsh domstats`, by libvirt's names."""
        lines = (line.strip().partition("=") for line in self.virsh("domstats", domain).splitlines())
        return {name: int(value) for name, _, value in lines if value.isdigit()}

    def disk(self, name: str, size_mib: int = 16) -> Path:
        """A new raw disk image, sparse."""
        path = self.root / "disks" / f"{name}.raw"
        with path.open("wb") as image:
            image.truncate(size_mib * 2**20)
        return path

    def file_system(self, name: str, size_mib: int = 16) -> Path:
        """A new raw disk image with an ext4 on it, without a partition table."""
        path = self.disk(name, size_mib)
        path_with_sbin = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        subprocess.run(
            ["mkfs.ext4", "-q", "-L", "lab", str(path)],
            check=True, env={**os.environ, "PATH": path_with_sbin},
        )  # fmt: skip
        return path

    def cramped_disk(self, name: str, room: str = "1M", size: str = "8M") -> Path:
        """A new raw disk image on a file system with less room than the size of the disk."""
        folder = self.root / f"cramped-{name}"
        folder.mkdir()
        path = folder / "disk.raw"
        inside = ["nsenter", "--target", str(self._keeper.pid), "--mount"]
        for command in (
            ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(folder)],
            ["truncate", "--size", size, str(path)],
        ):
            subprocess.run([*inside, *command], check=True)
        return path

    @contextmanager
    def hanging_disk(self, name: str, size: str = "16M") -> Iterator[HangingDisk]:
        """A raw disk image on a file system whose reads and writes hang when the test wants it."""
        folder, contents, hold = (self.root / f"{name}-{what}" for what in ("mount", "contents", "hold"))
        folder.mkdir()
        subprocess.run(["truncate", "--size", size, str(contents)], check=True)
        server = subprocess.Popen(
            ["nsenter", "--target", str(self._keeper.pid), "--mount", sys.executable, str(HANGING),
             str(folder), str(contents), str(hold)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        with server:
            assert server.stdout is not None
            assert server.stdin is not None
            if server.stdout.readline().strip() != "mounted":
                raise Unusable("there is no FUSE")
            try:
                yield HangingDisk(folder / "disk.raw", hold)
            finally:
                hold.unlink(missing_ok=True)
                server.stdin.close()

    def qemu_pid(self, domain_uuid: str) -> int:
        """The process of this host that runs a machine, by this process's count.

        :raises LookupError: none does
        """
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    arguments = (entry / "cmdline").read_bytes().split(b"\0")
                    network = (entry / "ns" / "net").readlink()
                except OSError:
                    continue  # it has just ended
                if b"-uuid" in arguments and domain_uuid.encode() in arguments and network == self._network:
                    return int(entry.name)
        raise LookupError(domain_uuid)

    def log(self) -> str:
        """What the keeper and libvirtd had to complain about, for the message of a failed test."""
        files = (self.root / name for name in ("keeper.err", "libvirtd.err", "log/libvirtd.log"))
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in files if path.exists())

    def close(self) -> None:
        """End everything and remove the folder."""
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.close()
        self._keeper.wait(30)
        self._keeper.stdout.close()
        shutil.rmtree(self.root)

    def _virsh(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["virsh", "--quiet", "--connect", self.uri, *arguments],
            capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip

    def _tell(self, command: str) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(f"{command}\n")
        self._keeper.stdin.flush()
        self._expect(command)

    def _expect(self, answer: str) -> None:
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline().strip() != answer:
            raise Unusable(f"the lab's namespaces cannot be had:\n{self.log()}")
