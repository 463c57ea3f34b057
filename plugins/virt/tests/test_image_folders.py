"""The folders with the images that operators may give to machines."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from vdsm_virt.policy.image_folders import ImageFolders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of operators with an image in it."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.img").write_bytes(b"\0" * 512)
    (tmp_path / "secret").write_text("s")
    return images


def test_paths_that_are_accepted(folder):
    """An image, an image that is not there, and a link within the folder are accepted; a neighbour whose name
    begins alike, a pipe and a socket are not."""
    (folder / "link").symlink_to("a.img")
    folders = ImageFolders([f"{folder}/"])
    for name in ("a.img", "link", "absent", "sub/absent"):
        assert folders.fault(str(folder / name), raw=True) == ""
    (folder.parent / "images2").mkdir()
    os.mkfifo(folder / "pipe")
    for name in ("../images2/x", "pipe"):
        assert folders.fault(os.path.normpath(folder / name), raw=True)


def _qcow2(path: Path, backing: bytes = b"", form: bytes = b"raw", *, version: int = 3, features: int = 0):
    header = struct.pack(">4sIQII", b"QFI\xfb", version, 0, len(backing), 16).ljust(72, b"\0")
    if version == 3:
        header += struct.pack(">QQQII", features, 0, 0, 4, 104)
    extension = struct.pack(">II", 0xE2792ACA, len(form)) + form.ljust((len(form) + 7) // 8 * 8, b"\0")
    header += (extension if form else b"") + b"\0" * 8
    if backing:
        header = header[:8] + struct.pack(">Q", len(header)) + header[16:] + backing
    path.write_bytes(header.ljust(1024, b"\0"))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("backing", "form", "accepted"),
    [
        (b"", b"", True),
        (b"a.img", b"raw", True),
        (b"IMAGES/a.img", b"qcow2", True),
        (b"a.img", b"", False),
        (b"a.img", b"vmdk", False),
        (b"/etc/passwd", b"raw", False),
        (b"../secret", b"raw", False),
        (b"json:{}", b"raw", False),
        (b"nbd://x/y", b"raw", False),
    ],
)
def test_backing_images(folder, version, backing, form, accepted):
    """A qcow2 image may refer to images in the folders only; opened as raw, its header is mere content."""
    _qcow2(folder / "b", backing.replace(b"IMAGES", os.fsencode(folder)), form, version=version)
    folders = ImageFolders([str(folder)])
    assert (folders.fault(str(folder / "b"), raw=False) == "") is accepted
    assert folders.fault(str(folder / "b"), raw=True) == ""


def test_chains(folder):
    """References are followed to their end, also in a circle; data in another file is refused."""
    _qcow2(folder / "c", b"d", b"qcow2")
    _qcow2(folder / "d", b"/etc/passwd", b"raw")
    folders = ImageFolders([str(folder)])
    assert "/etc/passwd" in folders.fault(str(folder / "c"), raw=False)
    _qcow2(folder / "d", b"c", b"qcow2")
    assert folders.fault(str(folder / "c"), raw=False) == ""
    _qcow2(folder / "e", features=4)
    assert "another file" in folders.fault(str(folder / "e"), raw=False)
