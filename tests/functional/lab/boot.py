"""A kernel and an initrd that boot in a second or two: Debian's cloud kernel and busybox."""

from __future__ import annotations

import hashlib
import lzma
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from vdsm_core.filelock import lock_exclusively

KERNEL_METAPACKAGE = "linux-image-cloud-amd64"
#: What the guest loads, when the kernel has it as a module; what these depend on comes by itself.
MODULES = (
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_balloon",
    "virtio_console",
    "virtio_rng",
    "button",
    "evdev",
)
#: Further modules of the guest that has an agent: SCSI disks and CD-ROMs, virtio-mem, file systems.
AGENT_MODULES = ("virtio_scsi", "sd_mod", "sr_mod", "virtio_mem", "isofs", "nls_iso8859_1", "vfat")
AGENT_PACKAGE = "qemu-guest-agent"
INIT = Path(__file__).with_name("init.sh")
POWER_BUTTON = "#!/bin/sh\necho 'LAB GUEST POWERS OFF' >/dev/console\nsync\nexec poweroff -f\n"
#: What the agent runs to shut its guest down: `shutdown -h -P +0 TEXT`, or with -r or -H in place of -P.
SHUTDOWN = '#!/bin/sh\n[ "$2" = -r ] || exec /etc/acpi/PWRF/00000080\nexec reboot -f\n'
OS_RELEASE = """\
NAME="Lab Guest"
ID=lab
VERSION="1.0 (tiny)"
VERSION_ID="1.0"
PRETTY_NAME="Lab Guest 1.0"
"""
#: The user that the guest has logged in.
USER = "tester"


@dataclass(frozen=True)
class BootFiles:
    """What QEMU boots directly, without firmware or boot loader."""

    kernel: Path
    initrd: Path
    #: Under emulation on a busy machine the kernel may miss its timer test, and panic: it must not make it.
    cmdline: str = "console=ttyS0 quiet no_timer_check"
    #: The initrd with qemu-guest-agent in it.
    agent_initrd: Path = Path()

    def with_agent(self) -> BootFiles:
        """Return the files of a guest that runs qemu-guest-agent on its channel org.qemu.guest_agent.0.

        It mounts ext4 disks at /mnt/vda and so on, and takes memory and processors that are plugged into use.
        """
        cmdline = f"{self.cmdline} lab.agent memhp_default_state=online"
        return replace(self, initrd=self.agent_initrd, cmdline=cmdline)


#: Seconds that a process waits for another one that makes the files.
PATIENCE = 90.0


def boot_files(cache: Path) -> BootFiles:
    """The guest's kernel and initrd, made on the first call and kept in `cache`; by one process at a time.

    :raises subprocess.CalledProcessError: the kernel package cannot be had
    :raises TimeoutError: another process makes them, without an end
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        if not lock_exclusively(lock.fileno(), PATIENCE):
            raise TimeoutError(f"{lock.name} is held by another process")
        return _boot_files(cache)


def _boot_files(cache: Path) -> BootFiles:
    recipe = hashlib.sha256(Path(__file__).read_bytes() + INIT.read_bytes()).hexdigest()[:16]
    done = cache / f"boot-{recipe}"
    if not done.exists():
        work = cache / f"boot-{recipe}.partial"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        _build(work)
        work.rename(done)
    return BootFiles(done / "vmlinuz", done / "initrd", agent_initrd=done / "initrd-agent")


def _build(work: Path) -> None:
    kernel, agent = _download(work)
    unpacked, tree, more = work / "kernel", work / "initrd.d", work / "agent.d"
    run("dpkg-deb", "--extract", str(kernel), str(unpacked))
    shutil.copyfile(next(unpacked.glob("boot/vmlinuz-*")), work / "vmlinuz")
    order = _lay_out(tree, unpacked)
    initrd = _archive(tree)
    (work / "initrd").write_bytes(initrd)
    _lay_out_agent(more, unpacked, agent, order)
    # The kernel unpacks archives that follow one another.
    (work / "initrd-agent").write_bytes(initrd + _archive(more))
    for package in (kernel, agent):
        package.unlink()
    for folder in (unpacked, tree, more):
        shutil.rmtree(folder)


def _archive(tree: Path) -> bytes:
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    return subprocess.run(
        ["cpio", "--quiet", "--create", "--format=newc", "--owner=+0:+0"],
        cwd=tree,
        input=names.encode(),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout


def _download(work: Path) -> tuple[Path, Path]:
    try:
        name = kernel_package()
    except LookupError:
        run("apt-get", "-qq", "update")
        name = kernel_package()
    # A list older than the archive names a file that is gone: read the list anew, once.
    fetch = ("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name, AGENT_PACKAGE)
    if subprocess.run(fetch, cwd=work, check=False, capture_output=True).returncode:
        run("apt-get", "-qq", "update")
        run(*fetch, cwd=work)
    return next(work.glob("linux-image-*.deb")), next(work.glob(f"{AGENT_PACKAGE}_*.deb"))


def kernel_package() -> str:
    """The name of the package with the kernel.

    :raises LookupError: apt does not know it
    """
    answer = run("apt-cache", "depends", "--important", KERNEL_METAPACKAGE, check=False)
    if (found := re.search(r"Depends: (linux-image-\S+)", answer)) is None:
        raise LookupError(KERNEL_METAPACKAGE)
    return found[1]


def _lay_out(tree: Path, unpacked: Path) -> list[str]:
    """Make the small guest's files; the modules that it has."""
    busybox = shutil.which("busybox")
    assert busybox is not None
    for folder in ("bin", "modules", "etc/acpi/PWRF"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(busybox, tree / "bin/busybox")
    shutil.copy(INIT, tree / "init")
    # busybox's acpid runs this file when the power button is pressed.
    button = tree / "etc/acpi/PWRF/00000080"
    button.write_text(POWER_BUTTON)
    for program in (tree / "init", button):
        program.chmod(0o755)
    order: list[str] = []
    _add_modules(MODULES, unpacked, tree / "modules", order)
    (tree / "modules/order").write_text("".join(f"{name}.ko\n" for name in order))
    return order


def _lay_out_agent(tree: Path, unpacked: Path, package: Path, order: list[str]) -> None:
    """Make the files that the guest with an agent has beside those of the small one."""
    for folder in ("sbin", "modules", "etc", "var/run", "usr"):
        (tree / folder).mkdir(parents=True)
    agent = tree / "usr/sbin/qemu-ga"
    run("dpkg-deb", "--extract", str(package), str(tree / "package"))
    (tree / "usr/sbin").mkdir()
    shutil.move(tree / "package/usr/sbin/qemu-ga", agent)
    shutil.rmtree(tree / "package")
    # Its libraries are also those of QEMU, of the same release and so installed.
    for library in re.findall(r"(/\S+) \(0x", run("ldd", str(agent))):
        (tree / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, tree / library[1:])
    shutdown = tree / "sbin/shutdown"
    shutdown.write_text(SHUTDOWN)
    shutdown.chmod(0o755)
    (tree / "etc/os-release").write_text(OS_RELEASE)
    (tree / "var/run/utmp").write_bytes(_logged_in(USER))
    before = len(order)
    _add_modules(AGENT_MODULES, unpacked, tree / "modules", order)
    (tree / "modules/order.agent").write_text("".join(f"{name}.ko\n" for name in order[before:]))


def _logged_in(user: str) -> bytes:
    """Return a record of utmp(5): a user on a terminal since a minute after the epoch."""
    user_process = 7
    return struct.pack(
        "<hxxi32s4s32s256shhiii16s20x",
        user_process, 1, b"ttyS0", b"S0", user.encode(), b"", 0, 0, 1, 60, 0, b"",
    )  # fmt: skip


def _add_modules(names: tuple[str, ...], unpacked: Path, target: Path, order: list[str]) -> None:
    available = {path.name.split(".ko")[0].replace("-", "_"): path for path in unpacked.rglob("*.ko*")}
    for name in names:
        _add_module(name, available, target, order)


def _add_module(name: str, available: dict[str, Path], target: Path, order: list[str]) -> None:
    if name in order or name not in available:  # what is no module is built in
        return
    path = available[name]
    # Debian 13 packs its modules.
    content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    # The kernel's .modinfo section: strings that end in a zero byte (scripts/mod/modpost.c).
    if (depends := re.search(rb"\0depends=([^\0]*)\0", content)) is not None:
        for other in filter(None, depends[1].decode().split(",")):
            _add_module(other.replace("-", "_"), available, target, order)
    (target / f"{name}.ko").write_bytes(content)
    order.append(name)


def run(*command: str, cwd: Path | None = None, check: bool = True) -> str:
    """What a command has printed.

    :raises subprocess.CalledProcessError: its exit code is not 0
    """
    return subprocess.run(command, cwd=cwd, check=check, stdout=subprocess.PIPE, text=True).stdout
