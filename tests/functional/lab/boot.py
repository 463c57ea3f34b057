"""A kernel and an initrd that boot in a second or two: Debian's cloud kernel and busybox."""

from __future__ import annotations

import hashlib
import lzma
import re
import shutil
import subprocess
from dataclasses import dataclass
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
INIT = Path(__file__).with_name("init.sh")
POWER_BUTTON = "#!/bin/sh\necho 'LAB GUEST POWERS OFF' >/dev/console\nsync\nexec poweroff -f\n"


@dataclass(frozen=True)
class BootFiles:
    """What QEMU boots directly, without firmware or boot loader."""

    kernel: Path
    initrd: Path
    cmdline: str = "console=ttyS0 quiet"


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
    return BootFiles(done / "vmlinuz", done / "initrd")


def _build(work: Path) -> None:
    package = _download(work)
    unpacked = work / "kernel"
    _run("dpkg-deb", "--extract", str(package), str(unpacked))
    shutil.copyfile(next(unpacked.glob("boot/vmlinuz-*")), work / "vmlinuz")
    tree = work / "initrd.d"
    _lay_out(tree, unpacked)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    archive = subprocess.run(
        ["cpio", "--quiet", "--create", "--format=newc", "--owner=+0:+0"],
        cwd=tree,
        input=names.encode(),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    (work / "initrd").write_bytes(archive)
    package.unlink()
    shutil.rmtree(unpacked)
    shutil.rmtree(tree)


def _download(work: Path) -> Path:
    try:
        name = _kernel_package()
    except LookupError:
        _run("apt-get", "-qq", "update")
        name = _kernel_package()
    # A list older than the archive names a file that is gone: read the list anew, once.
    fetch = ("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name)
    if subprocess.run(fetch, cwd=work, check=False, capture_output=True).returncode:
        _run("apt-get", "-qq", "update")
        _run(*fetch, cwd=work)
    return next(work.glob("*.deb"))


def _kernel_package() -> str:
    answer = _run("apt-cache", "depends", "--important", KERNEL_METAPACKAGE, check=False)
    if (found := re.search(r"Depends: (linux-image-\S+)", answer)) is None:
        raise LookupError(KERNEL_METAPACKAGE)
    return found[1]


def _lay_out(tree: Path, unpacked: Path) -> None:
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
    available = {path.name.split(".ko")[0].replace("-", "_"): path for path in unpacked.rglob("*.ko*")}
    for module in MODULES:
        _add_module(module, available, tree / "modules", order)
    (tree / "modules/order").write_text("".join(f"{name}.ko\n" for name in order))


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


def _run(*command: str, cwd: Path | None = None, check: bool = True) -> str:
    return subprocess.run(command, cwd=cwd, check=check, stdout=subprocess.PIPE, text=True).stdout
