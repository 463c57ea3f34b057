"""Virtual environments for tests: quick to make, and with nothing from a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BIN = Path(sys.executable).parent
SITE = Path(sysconfig.get_path("purelib"))
#: No index, and the build tools of this environment: what is missing is an error, not a download.
OFFLINE = {
    "PIP_NO_INDEX": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as the value of build_isolation
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PYTHONPATH": "",  # or what lies in a checkout counts as installed
}


class Environment:
    """A virtual environment in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))

    def make(self) -> None:
        """Make it, empty."""
        venv.create(self.folder, with_pip=False, symlinks=True)

    def borrow_all(self) -> None:
        """Let it see all that this environment has, with the scripts of what we ship, and pip."""
        (self.site / "borrowed.pth").write_text(f"import site; site.addsitedir({str(SITE)!r})\n")
        self.borrow_scripts()

    def borrow_scripts(self) -> None:
        """Give it the scripts of what we ship, and pip."""
        for name in ("vdsmd", "vdsm-tool", "vdsmsh", "pip"):
            script = re.sub(r"\A#!.*", f"#!{self.python}", (BIN / name).read_text())
            (self.folder / "bin" / name).write_text(script)
            (self.folder / "bin" / name).chmod(0o755)

    def borrow(self, distributions: set[str]) -> None:
        """Let it see these installed distributions, and no others."""
        for distribution in metadata.distributions(path=[str(SITE)]):
            if distribution.name not in distributions:
                continue
            for file in distribution.files or ():
                top = file.parts[0]
                # Some distributions list files that they do not have.
                if top in {"..", "__pycache__"} or not (SITE / top).exists():
                    continue
                if not (self.site / top).exists():
                    (self.site / top).symlink_to(SITE / top)

    def needs(self, requirement: str) -> set[str]:
        """What a distribution needs that is installed in it, and what that needs; as they say themselves."""
        own = {canonicalize_name(each.name): each for each in metadata.distributions(path=[str(self.site)])}
        found: set[str] = set()
        seen: set[tuple[str, str]] = set()
        queue = [Requirement(requirement)]
        while queue:
            wanted = queue.pop()
            key = canonicalize_name(wanted.name)
            distribution = own.get(key) or metadata.distribution(key)
            if key not in own:
                found.add(distribution.name)
            for extra in {"", *wanted.extras}:
                if (key, extra) not in seen:
                    seen.add((key, extra))
                    queue += _requirements(distribution, extra)
        return found

    def contents(self) -> list[str]:
        """The distributions that it has, or sees."""
        return sorted({each.name for each in metadata.distributions(path=[str(self.site)])}, key=str.lower)

    def install(self, *targets: Path) -> None:
        """Install wheels as they are."""
        command = [sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet", "--no-deps"]
        subprocess.run([*command, *targets], check=True, env={**os.environ, **OFFLINE}, timeout=120)

    def variables(self) -> dict[str, str]:
        """The environment variables of a shell in which it is active."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, **OFFLINE, "PATH": path, "VIRTUAL_ENV": str(self.folder)}


def _requirements(distribution: metadata.Distribution, extra: str) -> list[Requirement]:
    read = [Requirement(text) for text in distribution.requires or ()]
    return [each for each in read if each.marker is None or each.marker.evaluate({"extra": extra})]
