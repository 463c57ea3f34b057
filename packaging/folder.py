"""Folders with a Debian 13 inside: to build packages in, and to install them in."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

SUITE = "trixie"
#: What apt and dpkg shall not ask.
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
}
#: Seconds after which the lists of packages in a base system are no longer trusted.
_FRESH = 86_400.0
#: Mounts end with the command that needs them: they are in a name space of its own.
_ENTER = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'


class CommandFailed(Exception):
    """A command in a folder has failed; the message has what it said."""


class Folder:
    """One folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def made(cls, root: Path, base: Path) -> Folder:
        """A fresh one from a tarball of the base system, which is made first if it is not there, or old."""
        if not base.exists() or time.time() - base.stat().st_mtime > _FRESH:
            base.parent.mkdir(parents=True, exist_ok=True)
            new = base.with_suffix(".new.tar")
            # The lists are kept, for each folder would fetch them again.
            lists = "--skip=cleanup/apt/lists"
            subprocess.run(["mmdebstrap", "--quiet", "--variant=apt", lists, SUITE, new], check=True)
            new.rename(base)
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        subprocess.run(["tar", "-C", root, "-xf", base, "--numeric-owner"], check=True)
        return cls(root)

    def command(self, *words: str | Path) -> list[str]:
        """The command that runs words inside, for `subprocess`."""
        inside = ["unshare", "--mount", "sh", "-c", _ENTER, str(self.root)]
        return [*inside, *map(str, words)]

    def run(self, *words: str | Path, variables: Mapping[str, str] | None = None) -> str:
        """Run a command inside; what it said.

        :raises CommandFailed: its exit code is not 0
        """
        done = subprocess.run(
            self.command(*words),
            env={**ENVIRONMENT, **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            said = done.stdout[-4000:]
            raise CommandFailed(f"{shlex.join(map(str, words))}: exit code {done.returncode}\n{said}")
        return done.stdout

    def install(self, *packages: str) -> str:
        """Install packages by name, or .deb files by their paths inside, without what is only recommended."""
        return self.apt("install", "--no-install-recommends", *packages)

    def apt(self, *words: str) -> str:
        """apt-get, which asks nothing, and does not wait for the disk: a folder is not kept."""
        options = ("Dpkg::Use-Pty=0", "Dpkg::Options::=--force-unsafe-io", "APT::Sandbox::User=root")
        return self.run("apt-get", "-qq", "-y", *(word for each in options for word in ("-o", each)), *words)

    def installed(self) -> set[str]:
        """The packages that are installed."""
        rows = self.run("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\n").splitlines()
        return {row.split()[1] for row in rows if row.startswith("ii")}

    def remove(self) -> None:
        """Remove the folder; nothing may be mounted in it."""
        mounts = Path("/proc/self/mounts").read_text().split("\n")
        held = [line for line in mounts if f" {self.root}" in line]
        if held:
            raise CommandFailed(f"{self.root} is not removed: {held[0]}")
        shutil.rmtree(self.root)


def can_be_made() -> str:
    """Why no folder can be made here; empty if one can."""
    if os.geteuid() != 0:
        return "only root can make one"
    return "" if shutil.which("mmdebstrap") else "mmdebstrap is not installed"
