"""The import path while distributions come and go."""

from __future__ import annotations

import importlib
import importlib.util
import site
import sys
from pathlib import Path

import pytest

from vdsm_core.plugins.import_path import ImportPath


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python would look into if it were started now."""
    folder = tmp_path / "site-packages"
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(folder)])
    monkeypatch.setattr(site, "ENABLE_USER_SITE", False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return folder


def test_a_folder_that_comes_later_is_looked_into(installation: Path) -> None:
    """As after the first installation into an empty environment."""
    path = ImportPath()
    path.refresh()
    installation.mkdir()
    (installation / "vdsm_test_late.py").touch()
    assert importlib.util.find_spec("vdsm_test_late") is None
    path.refresh()
    assert importlib.util.find_spec("vdsm_test_late") is not None
    path.refresh()
    assert sys.path.count(str(installation)) == 1


def test_a_pth_file_that_comes_later_is_followed_once(installation: Path, tmp_path: Path) -> None:
    """As after an editable install. What was there at the first look, Python has followed itself."""
    installation.mkdir()
    source, old = tmp_path / "source", tmp_path / "old"
    source.mkdir()
    old.mkdir()
    (installation / "old.pth").write_text(f"{old}\n")
    path = ImportPath()
    path.refresh()
    (installation / "new.pth").write_text(f"{source}\n")
    path.refresh()
    path.refresh()
    assert sys.path.count(str(source)) == 1
    assert str(old) not in sys.path
