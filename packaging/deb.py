"""Build the Debian packages in a folder with a Debian 13: `packaging/deb.py FOLDER`, as root."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import source
from folder import Folder, can_be_made

#: Beside what debian/control asks for: what judges the result.
JUDGES = ("lintian", "man-db", "zsh")


def main() -> int:
    """Build, and print what was built."""
    if len(sys.argv) != 2:
        print("usage: packaging/deb.py FOLDER", file=sys.stderr)
        return 2
    if reason := can_be_made():
        print(f"deb: a folder with a Debian {reason}", file=sys.stderr)
        return 1
    target = Path(sys.argv[1]).resolve()
    builder(target)
    for file in sorted((target / "packages").iterdir()):
        print(f"{file.stat().st_size:>8}  {file.name}")
    return 0


def builder(target: Path) -> Folder:
    """Build into `packages` below a folder; the folder that was built in, where /build has all files."""
    inside = Folder.made(target / "builder", target / "base.tar")
    version = source.version()
    build = inside.root / "build"
    build.mkdir()
    tree = build / f"vdsm-{version}"
    source.archive(build / f"vdsm_{version}.orig.tar.gz", tree.name, without=("packaging/debian",))
    shutil.unpack_archive(build / f"vdsm_{version}.orig.tar.gz", build, filter="tar")
    shutil.copytree(source.ROOT / "packaging" / "debian", tree / "debian")
    inside.install(*JUDGES)
    inside.apt("build-dep", "--no-install-recommends", f"/build/{tree.name}")
    when = {"SOURCE_DATE_EPOCH": str(source.epoch())}
    said = inside.run("sh", "-c", f"cd /build/{tree.name} && dpkg-buildpackage -us -uc", variables=when)
    (target / "build.log").write_text(said)
    packages = target / "packages"
    shutil.rmtree(packages, ignore_errors=True)
    packages.mkdir()
    for file in build.iterdir():
        if file.is_file():
            shutil.copy(file, packages)
    return inside


def earlier(inside: Folder, target: Path, revision: str) -> list[str]:
    """Build the packages of an earlier state of the source, of a version below every other.

    :param inside: the folder that `builder` has built in
    :param target: where the packages go
    :param revision: a commit of this repository
    :returns: the names of the packages
    """
    tree = inside.root / "build" / "earlier" / "vdsm"
    tree.parent.mkdir(parents=True)
    source.export(revision, tree)
    shutil.copytree(tree / "packaging" / "debian", tree / "debian")
    changelog = tree / "debian" / "changelog"
    changelog.write_text(changelog.read_text("utf-8").replace("(", "(0~", 1), "utf-8")
    # Entry points are cached by the times of their files: those of two releases differ.
    when = {"SOURCE_DATE_EPOCH": str(source.epoch(revision))}
    build = f"cd /build/earlier/{tree.name} && dpkg-buildpackage -us -uc -b"
    inside.run("sh", "-c", build, variables=when)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in tree.parent.glob("*.deb"):
        shutil.copy(file, (target / file.name.partition("_")[0]).with_suffix(".deb"))
    return sorted(file.stem for file in target.iterdir())


if __name__ == "__main__":
    sys.exit(main())
