"""Read the description in an OVA: a tar or zip file, or a folder, with one OVF document and disks."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from vdsm_core.errors import InvalidArgument

#: Bytes of an OVF document; those of large machines have some 100 KiB.
_MAX_OVF: Final = 4 * 2**20
#: Members of an OVA.
_MAX_MEMBERS: Final = 1_000


class Ova(msgspec.Struct, frozen=True, kw_only=True):
    """What an OVA has.

    :ivar ovf: the text of its description
    :ivar sizes: bytes of each of its files, by name
    """

    ovf: bytes
    sizes: dict[str, int]


class _Member(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    size: int
    regular: bool


def read(path: Path) -> Ova:
    """Read an OVA.

    :raises InvalidArgument: it is none, has a member that leads out of it, or is too large
    """
    try:
        if path.is_dir():
            return _from_folder(path)
        if zipfile.is_zipfile(path):
            return _from_zip(path)
        return _from_tar(path)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise _refusal(f"it cannot be read: {error}") from None


def _from_folder(path: Path) -> Ova:
    entries = (
        _Member(name=item.name, size=item.lstat().st_size, regular=item.is_file() and not item.is_symlink())
        for item in sorted(path.iterdir())
    )
    members = _checked(entries)
    name = _ovf_name(members)
    with (path / name).open("rb") as file:
        return _ova(file.read(_MAX_OVF + 1), members)


def _from_zip(path: Path) -> Ova:
    with zipfile.ZipFile(path) as archive:
        entries = (
            # The upper half of the attributes is the mode of the file; 0o120000 is a link.
            _Member(
                name=i.filename, size=i.file_size, regular=(i.external_attr >> 28) != 0o12 and not i.is_dir()
            )
            for i in archive.infolist()
        )
        members = _checked(entries)
        with archive.open(_ovf_name(members)) as file:
            return _ova(file.read(_MAX_OVF + 1), members)


def _from_tar(path: Path) -> Ova:
    # Not compressed: the disks within would have to be unpacked to find what follows them.
    with tarfile.open(path, "r:") as archive:
        entries = (_Member(name=i.name, size=i.size, regular=i.isreg()) for i in archive)
        members = _checked(entries)
        file = archive.extractfile(_ovf_name(members))
        if file is None:
            raise _refusal("its description is not a file")
        with file:
            return _ova(file.read(_MAX_OVF + 1), members)


def _checked(entries: Iterator[_Member]) -> list[_Member]:
    """Return the members, all of which stay within the OVA when it is unpacked."""
    members = []
    for entry in entries:
        parts = PurePosixPath(entry.name).parts
        if not entry.name or entry.name.startswith("/") or ".." in parts or not entry.name.isprintable():
            raise _refusal(f"its member {entry.name!a} leads out of it")
        if not entry.regular:
            raise _refusal(f"its member {entry.name!a} is not a regular file")
        members.append(entry)
        if len(members) > _MAX_MEMBERS:
            raise _refusal(f"it has more than {_MAX_MEMBERS} members")
    return members


def _ovf_name(members: list[_Member]) -> str:
    names = [member.name for member in members if member.name.lower().endswith(".ovf")]
    if len(names) != 1:
        raise _refusal(f"it has {len(names) or 'no'} descriptions (*.ovf) instead of one")
    return names[0]


def _ova(ovf: bytes, members: list[_Member]) -> Ova:
    if len(ovf) > _MAX_OVF:
        raise _refusal(f"its description has more than {_MAX_OVF} bytes")
    return Ova(ovf=ovf, sizes={member.name: member.size for member in members})


def _refusal(reason: str) -> InvalidArgument:
    return InvalidArgument(argument="ova_path", reason=f"the OVA is not accepted: {reason}")
