"""The source as it is released: what git tracks, as it is in this checkout, owned by nobody, of one time.

Everything that is built for somebody else is built from this, so that it does not depend on whose checkout
it was, when that was made, with which umask, and what else lies in it.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def version() -> str:
    """The one version that all distributions carry."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def epoch(revision: str = "") -> int:
    """The time of a release, in seconds: SOURCE_DATE_EPOCH, else that of the last commit.

    :param revision: an earlier commit, whose own time it is
    """
    given = "" if revision else os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or _git("log", "-1", "--format=%ct", revision or "HEAD"))


def tracked() -> list[str]:
    """The files that git knows, relative to the checkout, in order; those that were deleted left out."""
    names = _git("ls-files", "-z").split("\0")
    return sorted(name for name in names if name and os.path.lexists(ROOT / name))


def archive(target: Path, prefix: str, *, without: tuple[str, ...] = ()) -> None:
    """Write a tarball of the source.

    :param prefix: the folder that all of it is in
    :param without: folders that are left out
    """
    when = epoch()
    names = [name for name in tracked() if not name.startswith(tuple(f"{folder}/" for folder in without))]
    with _writer(target, when) as tar:
        for name in names:
            entry = tar.gettarinfo(ROOT / name, f"{prefix}/{name}")
            _normalise(entry, when)
            if entry.isfile():
                with (ROOT / name).open("rb") as file:
                    tar.addfile(entry, file)
            else:
                tar.addfile(entry)


def has(revision: str) -> bool:
    """Whether this checkout has a commit; a shallow clone has few."""
    asked = ["git", "-C", ROOT, "cat-file", "-e", f"{revision}^{{commit}}"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def export(revision: str, folder: Path) -> None:
    """Lay out the source of an earlier commit in a folder, which is made."""
    folder.mkdir()
    tar = subprocess.run(["git", "-C", ROOT, "archive", revision], stdout=subprocess.PIPE, check=True)
    with tarfile.open(fileobj=io.BytesIO(tar.stdout)) as archived:
        archived.extractall(folder, filter="tar")


def unpack(folder: Path) -> None:
    """Lay out the source in a folder, which is made."""
    with_prefix = folder.with_suffix(".tar.gz")
    archive(with_prefix, folder.name)
    with tarfile.open(with_prefix) as tar:
        tar.extractall(folder.parent, filter="tar")
    with_prefix.unlink()


def repack(tarball: Path, when: int) -> None:
    """Write a tarball anew, its members in order and without traces of who made it and when."""
    with tarfile.open(tarball) as old:
        members = [(entry, old.extractfile(entry)) for entry in old.getmembers()]
        contents = [(entry, file.read() if file else b"") for entry, file in members]
    with _writer(tarball, when) as tar:
        for entry, content in sorted(contents, key=lambda member: member[0].name):
            _normalise(entry, when)
            tar.addfile(entry, io.BytesIO(content))


@contextmanager
def _writer(target: Path, when: int) -> Iterator[tarfile.TarFile]:
    with (
        target.open("wb") as raw,
        # Without the name of the file, which gzip would write down.
        gzip.GzipFile("", "wb", 9, raw, when) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        yield tar


def _normalise(entry: tarfile.TarInfo, when: int) -> None:
    entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = when, 0, 0, "", ""
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    entry.pax_headers = {}


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout
