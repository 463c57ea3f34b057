"""Finding plugins: real distributions, made for the test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vdsm_core.plugins import HOOKS, VERBS, Found, discover, discovery

GROUP = "vdsm.test"


@pytest.fixture
def distribute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Make a distribution with one module and one entry point, and put it on the path."""
    before = set(sys.modules)

    def make(distribution: str, name: str, code: str, target: str = "", version: str = "1.2") -> None:
        root = tmp_path / distribution
        module = distribution.replace("-", "_")
        info = root / f"{module}-{version}.dist-info"
        info.mkdir(parents=True)
        (root / f"{module}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {target or module}:Lamp\n")
        monkeypatch.syspath_prepend(root)

    yield make
    for module in set(sys.modules) - before:
        del sys.modules[module]


def test_what_is_installed_is_found(distribute: Callable[..., None]) -> None:
    """Each plugin comes with its object and its distribution, in the order of names."""
    distribute("lamp-b", "b", "class Lamp: pass")
    distribute("lamp-a", "a", "class Lamp: pass", version="3.0")
    found = discover(GROUP)
    assert [(p.name, p.distribution, p.version, p.error) for p in found] == [
        ("a", "lamp-a", "3.0", ""),
        ("b", "lamp-b", "1.2", ""),
    ]
    assert found[0].loaded is sys.modules["lamp_a"].Lamp
    assert found[0].target == "lamp_a:Lamp"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("this is no Python", "SyntaxError"),
        ("", "AttributeError: module 'lamp_bad' has no attribute 'Lamp'"),
        ("1 / 0", "ZeroDivisionError"),
        ("assert False, 'never'", "AssertionError: never"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_a_broken_plugin_is_there_with_its_error(
    distribute: Callable[..., None], caplog: pytest.LogCaptureFixture, code: str, message: str
) -> None:
    """Whatever its import does, it is reported with its distribution; the others are loaded."""
    distribute("lamp-bad", "bad", code)
    distribute("lamp-good", "good", "class Lamp: pass")
    bad, good = discover(GROUP)
    assert (bad.name, bad.distribution, bad.loaded) == ("bad", "lamp-bad", None)
    assert message in bad.error
    assert (good.name, good.error) == ("good", "")
    assert "Cannot load plugin bad" in caplog.text


@pytest.mark.parametrize("code", ["class Lamp: pass", "1 / 0"])
@pytest.mark.parametrize("target", ["", "lamp_one"])
def test_a_doubled_name_is_refused_on_both_sides(
    distribute: Callable[..., None], code: str, target: str
) -> None:
    """Two distributions with a plugin of one name: neither is used, and the error names both."""
    distribute("lamp-one", "lamp", code)
    distribute("lamp-two", "lamp", code, target)
    found = discover(GROUP)
    assert [plugin.distribution for plugin in found] == ["lamp-one", "lamp-two"]
    for plugin in found:
        assert plugin.loaded is None
        assert "lamp-one 1.2" in plugin.error
        assert "lamp-two 1.2" in plugin.error


def test_a_plugin_that_was_installed_meanwhile_is_found(distribute: Callable[..., None]) -> None:
    """Nothing is remembered from an earlier look."""
    assert discover(GROUP) == []
    distribute("lamp-a", "a", "class Lamp: pass")
    assert [plugin.name for plugin in discover(GROUP)] == ["a"]


def test_our_own_are_found_like_others() -> None:
    """The base verbs come through their entry point, from the distribution `vdsm`."""
    (base,) = (plugin for plugin in discover(VERBS) if plugin.name == "base")
    assert (base.distribution, base.error) == ("vdsm", "")


def test_what_was_found_is_remembered_until_something_changes(
    distribute: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metadata is read again once something is installed or removed, and while something cannot be loaded."""
    looks = []
    monkeypatch.setattr(discovery, "discover", lambda group: looks.append(group) or discover(group))
    find = discovery.Discovery()
    for _ in range(3):
        assert find(GROUP) == []
    assert looks == [GROUP]
    distribute("lamp-a", "a", "class Lamp: pass")
    assert [plugin.name for plugin in find(GROUP)] == ["a"]
    find(GROUP)
    assert len(looks) == 2
    distribute("lamp-b", "b", "1 / 0")
    assert [plugin.error for plugin in find(GROUP)] == ["", "ZeroDivisionError: division by zero"]
    find(GROUP)
    assert len(looks) == 4


def test_an_import_that_hangs(distribute: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is bounded, and reported; the next discovery does not wait for it again."""
    looks = []

    def quick(group: str) -> list[Found]:
        looks.append(group)
        return discover(group, 1.0)

    monkeypatch.setattr(discovery, "discover", quick)
    find = discovery.Discovery()
    assert find(GROUP) == []
    distribute("lamp-a", "a", "while True: pass")
    distribute("lamp-b", "b", "class Lamp: pass")
    for _ in range(2):
        hung, well = find(GROUP)
        assert (hung.loaded, hung.error) == (None, "The import of a did not finish within 1.0 s")
        assert well.error == ""
    assert len(looks) == 2


def test_an_import_that_took_too_long_once(
    distribute: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once the import has finished, the next discovery finds the plugin without a restart."""
    monkeypatch.setattr(discovery, "discover", lambda group: discover(group, 0.3))
    find = discovery.Discovery()
    go = tmp_path / "go"
    waiting = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\nclass Lamp: pass"
    distribute("lamp-a", "a", waiting)
    (hung,) = find(GROUP)
    assert hung.hangs
    assert find(GROUP) == [hung]
    go.touch()
    assert hung.timed_out is not None
    assert hung.timed_out.thread is not None
    hung.timed_out.thread.join(10)
    (well,) = find(GROUP)
    assert (well.error, well.loaded.__name__) == ("", "Lamp")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("class Lamp: plugin_api = 1", ""),
        ("class Lamp: plugin_api = 2", "it is made for version 2 of the plugin API, and this is version 1"),
        (
            "class Lamp: plugin_api = 'x'",
            "it is made for version 'x' of the plugin API, and this is version 1",
        ),
    ],
)
def test_the_version_of_the_plugin_api(distribute: Callable[..., None], code: str, error: str) -> None:
    """A plugin for another version is there with the reason, and is not used."""
    distribute("lamp-a", "a", code)
    (plugin,) = discover(GROUP)
    assert (plugin.error, plugin.loaded is None) == (error, bool(error))


def test_a_table_belongs_to_one_distribution() -> None:
    """Plugins of one name in several groups must be of one distribution; the error names both."""

    def plugin(name: str, group: str, distribution: str, version: str = "1") -> Found:
        return Found(group=group, name=name, target="x", distribution=distribution, version=version, loaded=1)

    found = [plugin("a", VERBS, "one"), plugin("a", HOOKS, "two", "3"), plugin("b", VERBS, "one")]
    first, second, other = discovery.refuse_shared_tables([*found])
    assert first.error == second.error
    assert first.error.startswith("several distributions offer a table [plugin.a]")
    assert first.error.endswith("one 1, two 3")
    assert (first.loaded, second.loaded, other) == (None, None, found[2])
    together = [plugin("a", VERBS, "one"), plugin("a", HOOKS, "one")]
    assert discovery.refuse_shared_tables(together) == together
