"""Images made of the files that a client sends: for cloud-init a CD-ROM, for sysprep a floppy.

The files hold passwords and keys: they are written into a private folder, into the image, and nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

from vdsm_core.errors import InvalidArgument, OperationFailed
from vdsm_virt.api.devices import Payload
from vdsm_virt.api.scalars import given

PayloadKind = Literal["cdrom", "floppy"]

#: Programs that write ISO 9660 with the same options; the first that is installed is used.
_ISO_PROGRAMS: Final = ("genisoimage", "mkisofs", "xorrisofs")
#: KiB of a floppy image, a 3.5" disk of high density.
_FLOPPY: Final = 1440
#: Bytes of all files of one payload.
_MAX_BYTES: Final = 16 * 2**20
#: Bytes of a floppy's label.
_MAX_LABEL: Final = 11
#: Seconds for one program.
_TIMEOUT: Final = 30.0
#: Where administrators' programs are, beside the path of the daemon.
_PATH: Final = "/usr/sbin:/sbin"


def decode(payload: Payload, argument: str) -> dict[str, bytes]:
    """Return the content of the files, by their paths.

    :raises InvalidArgument: one is no base64, or they are too large, or one is a folder of another
    """
    files: dict[str, bytes] = {}
    for name, content in payload.file.items():
        try:
            files[name] = base64.b64decode("".join(content.reveal().split()), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidArgument(argument=f"{argument}.file", reason=f"'{name}' is no base64") from None
    if sum(map(len, files.values())) > _MAX_BYTES:
        raise InvalidArgument(argument=f"{argument}.file", reason=f"it has more than {_MAX_BYTES} bytes")
    folders = {str(parent) for name in files for parent in Path(name).parents}
    if both := folders & files.keys():
        raise InvalidArgument(argument=f"{argument}.file", reason=f"'{min(both)}' is a file and a folder")
    return files


def write_image(path: Path, kind: PayloadKind, files: Mapping[str, bytes], label: str) -> None:
    """Write an image with files, in place of an existing one.

    :raises OperationFailed: it cannot be written, or the programs for it are not installed
    """
    try:
        path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".payload-", dir=path.parent) as work:
            folder, image = Path(work, "files"), Path(work, "image")
            folder.mkdir()
            for name, content in files.items():
                _write(folder, name, content)
            if kind == "cdrom":
                _write_iso(folder, image, label)
            else:
                _write_floppy(folder, image, label)
            image.chmod(0o640)
            image.replace(path)
    except OSError as error:
        raise OperationFailed(reason=f"the payload cannot be written: {error.strerror or error}") from None


def label_of(payload: Payload) -> str:
    """Return the label of a payload's image; empty if it has none."""
    return given(payload.vol_id, "")


def _write(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o640)
    path.write_bytes(content)


def _write_iso(folder: Path, image: Path, label: str) -> None:
    program = _program(_ISO_PROGRAMS)
    volume = ["-V", label] if label else []
    # Rock Ridge and Joliet: long names for every guest.
    _run([program, "-quiet", "-R", "-J", *volume, "-o", str(image), str(folder)])


def _write_floppy(folder: Path, image: Path, label: str) -> None:
    format_program, copy_program = _program(("mkfs.vfat",)), _program(("mcopy",))
    if len(label.encode()) > _MAX_LABEL:
        raise OperationFailed(reason=f"a floppy's label has at most {_MAX_LABEL} bytes")
    volume = ["-n", label] if label else []
    _run([format_program, "-C", *volume, str(image), str(_FLOPPY)])
    if entries := sorted(str(entry) for entry in folder.iterdir()):
        _run([copy_program, "-s", "-i", str(image), *entries, "::/"])


def _program(names: Iterable[str]) -> str:
    """Return the path of the first program that is installed.

    :raises OperationFailed: none is
    """
    path = f"{os.environ.get('PATH', os.defpath)}:{_PATH}"
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise OperationFailed(reason=f"the payload needs one of these programs: {', '.join(names)}")


def _run(command: list[str]) -> None:
    """Run a program on names of ours. Its output is not shown: it may have names of the client's files.

    :raises OperationFailed: it fails, or takes too long
    """
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program on paths of ours
            command, capture_output=True, timeout=_TIMEOUT, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise OperationFailed(reason=f"{Path(command[0]).name} has not ended in {_TIMEOUT:g} s") from None
    if done.returncode:
        name = Path(command[0]).name
        raise OperationFailed(reason=f"{name} could not write the payload (exit code {done.returncode})")
