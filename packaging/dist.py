"""Build every distribution, sdist and wheel: `packaging/dist.py FOLDER`. Two builds are equal, byte for byte.

Each wheel is built from its sdist, so that an sdist that lacks something does not go unnoticed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import source


def main() -> int:
    """Build, and print what was built."""
    if len(sys.argv) != 2:
        print("usage: packaging/dist.py FOLDER", file=sys.stderr)
        return 2
    target = Path(sys.argv[1]).resolve()
    for file in build(target):
        print(f"{file.stat().st_size:>8}  {file.name}")
    return 0


def build(target: Path) -> list[Path]:
    """Build all distributions into a folder; the files, by name."""
    os.umask(0o022)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        tree = Path(scratch) / "source"
        source.unpack(tree)
        folders = [tree, *sorted(path.parent for path in tree.glob("plugins/*/pyproject.toml"))]
        built = pool.map(lambda folder: _distribution(folder, target), folders)
        return sorted(file for files in built for file in files)


def _distribution(folder: Path, target: Path) -> tuple[Path, Path]:
    when = source.epoch()
    sdist = _build("--sdist", folder, target, when)
    source.repack(sdist, when)
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(sdist) as tar:
        tar.extractall(scratch, filter="tar")
        (unpacked,) = Path(scratch).iterdir()
        return sdist, _build("--wheel", unpacked, target, when)


def _build(kind: str, folder: Path, target: Path, when: int) -> Path:
    """Build one file; the tools are those of this environment, so that none is fetched."""
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        done = subprocess.run(
            [sys.executable, "-m", "build", kind, "--no-isolation", "--outdir", scratch, str(folder)],
            env={**os.environ, "SOURCE_DATE_EPOCH": str(when), "PYTHONPATH": ""},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{done.stdout}\ndist: {folder.name} cannot be built")
        (file,) = Path(scratch).iterdir()
        return file.rename(target / file.name)


if __name__ == "__main__":
    sys.exit(main())
