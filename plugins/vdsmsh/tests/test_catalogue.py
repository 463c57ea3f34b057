"""What is remembered of a host's verbs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vdsm_bridge import Namespace, Verb, action, query
from vdsm_bridge.api.collect import collect
from vdsm_bridge.testing import TestHost
from vdsmsh.api.catalogue import CatalogueCache

from .conftest import Run


class Bell(Namespace, name="Bell"):
    """A bell."""

    @query(since="1.0")
    def get_tone(self) -> str:
        """The tone."""
        return "a"

    @query(since="1.0")
    def tone(self) -> str:
        """Another verb that would have the same command."""
        return "b"

    @action(since="1.0")
    def ring(self) -> None:
        """Ring."""


def bells() -> list[Verb]:
    """The verbs of a plugin that is switched on later."""
    return collect(Bell(), "bells")


@pytest.fixture
def cache_file(home: Path) -> Path:
    """Where the one cache file is, once it is there."""
    return home / "xdg_cache_home" / "vdsmsh"


def test_remembered(host: TestHost, run: Run, cache_file: Path) -> None:
    """The verbs are read once; the cache is readable by its owner only."""
    run("lamp", "list")
    (file,) = cache_file.glob("*.json")
    assert json.loads(file.read_text())["revision"] == host.bridge.revision
    assert file.stat().st_mode & 0o077 == 0
    before = file.stat().st_mtime_ns
    run("lamp", "list")
    assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 0}', '{"format": 1, "revision": "x", "verbs": [1]}']
)
def test_broken_cache(host: TestHost, run: Run, cache_file: Path, content: str) -> None:
    """A cache that cannot be used is replaced."""
    run("lamp", "list")
    (file,) = cache_file.glob("*.json")
    file.write_text(content)
    assert run("lamp", "list").code == 0
    assert json.loads(file.read_text())["revision"] == host.bridge.revision


def test_cache_that_cannot_be_written(
    host: TestHost, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a place to remember anything, vdsmsh works all the same."""
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    assert run("lamp", "list").code == 0


def test_new_verb(host: TestHost, run: Run) -> None:
    """A command that is not remembered is looked for on the host."""
    run("lamp", "list")
    host.host.runtime.registry.add(bells())
    assert run("bell", "tone").out == "b\n"


def test_get_gives_way(host: TestHost, run: Run) -> None:
    """Where a verb has the short name already, the other keeps its `get`."""
    host.host.runtime.registry.add(bells())
    assert (run("bell", "tone").out, run("bell", "get-tone").out) == ("b\n", "a\n")


def test_revision_is_followed(host: TestHost, run: Run, cache_file: Path) -> None:
    """An answer with another revision makes vdsmsh learn the verbs anew."""
    run("lamp", "list")
    host.host.runtime.registry.add(bells())
    run("lamp", "list")
    (file,) = cache_file.glob("*.json")
    assert json.loads(file.read_text())["revision"] == host.bridge.revision
    assert "Bell.ring" in file.read_text()


def test_lost_verb(host: TestHost, run: Run) -> None:
    """A verb that is gone is refused once by the host, then unknown."""
    host.host.runtime.registry.add(bells())
    assert run("bell", "ring").code == 0
    host.host.runtime.registry.remove("bells")
    assert run("bell", "ring").code == 1
    assert run("bell", "ring").code == 2


def test_hosts_are_kept_apart(tmp_path: Path) -> None:
    """Each URL has its own file."""
    CatalogueCache("http://a", tmp_path).save("1", [])
    assert CatalogueCache("http://b", tmp_path).load() is None
    loaded = CatalogueCache("http://a", tmp_path).load()
    assert loaded is not None
    assert loaded.revision == "1"
