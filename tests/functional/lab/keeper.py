"""The first process of the lab's namespaces: keeps libvirtd, reaps what it leaves, ends with its reader.

Started by `host.py` through unshare(1) with mount, network, UTS and PID namespaces of its own. Reads commands
from standard input, one a line, and answers each with a line: `start`, `stop` (SIGTERM), `kill` (SIGKILL). At
the end of the input, also when the test run was killed, it exits; the kernel then ends every process of the
namespace, guests included. Only the standard library: it runs before anything is set up.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

#: Where libvirtd keeps its files, and the lab's folder that stands in.
FOLDERS = {
    "etc": "/etc/libvirt",
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
}
#: Where libvirt and QEMU look for certificates; only of a host that others reach.
CERTIFICATES = ("pki", "/etc/pki")
#: The host's side of the guests' network; the guests ask for this address (init.sh).
BRIDGE = "lab0"
BRIDGE_ADDRESS = "169.254.255.254/16"


def prepare(root: Path) -> None:
    """Mount the lab's folders over libvirt's, and make the bridge."""
    folders = [*FOLDERS.items(), *([CERTIFICATES] if (root / CERTIFICATES[0]).exists() else [])]
    for name, target in folders:
        source = root / name
        source.mkdir(exist_ok=True)
        Path(target).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", str(source), target], check=True)
    # /sys shows the network cards of the namespace in which it was mounted.
    subprocess.run(["mount", "-t", "sysfs", "sysfs", "/sys"], check=True)
    for command in (
        "link set lo up",
        f"link add {BRIDGE} type bridge",
        f"address add {BRIDGE_ADDRESS} dev {BRIDGE}",
        f"link set {BRIDGE} up",
    ):
        subprocess.run(["ip", *command.split()], check=True)


def reap(_signum: int, _frame: object) -> None:
    """QEMU detaches from libvirtd, so its remains come to us; libvirtd waits until they are gone."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def start(log: int, options: list[str]) -> int:
    """Start libvirtd and return its process id."""
    arguments = ["libvirtd", "--pid-file", "/run/libvirt/libvirtd.pid", *options]
    return os.posix_spawnp(
        "libvirtd",
        arguments,
        {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ],
        setsigdef=[signal.SIGCHLD],
        setsigmask=[],
    )


def end(pid: int, how: signal.Signals) -> None:
    """End libvirtd, and wait for that; the guests run on."""
    os.kill(pid, how)
    with contextlib.suppress(ChildProcessError):  # `reap` may be first
        os.waitpid(pid, 0)


def answer(line: str) -> None:
    """Send a line to the reader."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(root: Path, name: str, options: list[str]) -> None:
    """Obey until the input ends.

    :param name: the host's
    :param options: of libvirtd
    """
    socket.sethostname(name)
    prepare(root)
    signal.signal(signal.SIGCHLD, reap)
    log = os.open(root / "libvirtd.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    pid = 0
    answer("ready")
    for line in sys.stdin:
        command = line.strip()
        if command == "start":
            pid = start(log, options)
        elif command in ("stop", "kill"):
            end(pid, signal.SIGTERM if command == "stop" else signal.SIGKILL)
        answer(command)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
