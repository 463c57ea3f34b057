"""Each rule finds what it is for."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator

import pytest

from tests.architecture import rules

CLASS = "class Wide:\n" + "".join(f"    def verb{number}(self): ...\n" for number in range(20))


@pytest.mark.parametrize(
    "text",
    ["# Nobody waits.", '"""libvirt tells it."""', 'm = "the host was told"', "# an event of libvirt's."],
)
def test_unplain(text: str) -> None:
    """A banned phrase is found in a comment, a docstring and a message, with its line; not in a name."""
    (found,) = rules.unplain(f"tell = 1\n{text}\n")
    assert found.startswith("line 2: ")
    assert list(rules.unplain('tell = "tell"\n# The caller is notified.\n')) == []


def test_unplain_page() -> None:
    """A banned phrase is found in prose with its line, also across lines; not in code."""
    page = "Plain.\n\n```sh\ntell\n```\n    told\n\nThe log says\nso, `told` or not.\n"
    assert list(rules.unplain_page(page)) == ["line 8: 'says so'"]


def test_too_long() -> None:
    """The five hundred and first line is one too many."""
    assert rules.too_long("\n" * 500) is None
    assert rules.too_long("\n" * 501) == "501 lines, 500 allowed"


@pytest.mark.parametrize(
    "extra", ["    def _more(self): ...\n", "    def test_more(self): ...\n", "    def verb1(self): ...\n"]
)
def test_wide_classes_spare(extra: str) -> None:
    """Private methods, tests and a property's setter are not counted."""
    assert list(rules.wide_classes(CLASS + extra)) == []


def test_wide_classes() -> None:
    """The twenty-first public method is one too many, in a nested class, too."""
    found = list(rules.wide_classes(CLASS + "    async def more(self): ...\n    class Inner: pass\n"))
    assert found == ["Wide has 21 public methods, 20 allowed"]


def wide(*counts: int, module: str = "ours.sample") -> type:
    """Return the last of classes that derive from one another, with this many public methods each."""
    class_: type = object
    for depth, count in enumerate(counts):
        methods: dict[str, object] = {f"verb{depth}_{number}": lambda self: self for number in range(count)}
        class_ = type(f"Class{depth}", (class_,), {**methods, "__module__": module})
    return class_


@pytest.mark.parametrize("counts", [(20,), (10, 10), (0, 20)])
def test_too_wide_spares(counts: tuple[int, ...]) -> None:
    """Twenty public methods, inherited or not, are allowed."""
    assert rules.too_wide(wide(*counts), {"ours"}) is None


def test_too_wide() -> None:
    """The twenty-first public method is one too many wherever it is inherited from, a property included."""
    found = rules.too_wide(wide(7, 7, 7), {"ours"})
    assert found == "Class2 has 21 public methods (of Class2, Class1, Class0), 20 allowed"
    child = type("Child", (wide(20),), {"more": property(id), "__module__": "ours"})
    assert rules.too_wide(child, {"ours"}) == "Child has 21 public methods (of Child, Class0), 20 allowed"


def test_too_wide_counts_own_classes_only() -> None:
    """Overrides count once; private methods, tests and methods of a library are not counted."""
    base = wide(20)
    override = vars(base)["verb0_1"]
    members = {"verb0_1": override, "_more": override, "test_more": override, "__module__": "ours"}
    assert rules.too_wide(type("Child", (base,), members), {"ours"}) is None
    assert rules.too_wide(wide(21, module="library"), {"ours"}) is None


def test_classes_in() -> None:
    """Nested classes are found, imported ones are not."""
    module = types.ModuleType("sample")
    exec("class Outer:\n    class Inner: ...\nfrom decimal import Decimal", vars(module))
    assert [class_.__qualname__ for class_ in rules.classes_in(module)] == ["Outer", "Outer.Inner"]


@pytest.mark.parametrize(
    "source",
    [
        "import libvirt",
        "import libvirt.x as y",
        "from libvirt import open",
        "def f():\n    import os, libvirt",
    ],
)
def test_imported(source: str) -> None:
    """An import is found however it is written."""
    assert "libvirt" in rules.imported(source)


@pytest.mark.parametrize(
    "source", ["from . import libvirt", "from .libvirt import x", "name = 'import libvirt'"]
)
def test_imported_is_not_mentioned(source: str) -> None:
    """A relative import and a text are no import of the library."""
    assert "libvirt" not in rules.imported(source)


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("x = 1", ["(module)"]),
        ("'''Doc.'''\ndef f(): ...\ndef _g(): ...", ["f"]),
        ("'''Doc.'''\nclass C:\n    def m(self): ...\n    def _n(self): ...", ["C", "C.m"]),
        ("'''Doc.'''\nclass C:\n    '''Doc.'''\n    @x.setter\n    def x(self, y): ...", []),
        ("", []),
    ],
)
def test_undocumented(source: str, missing: list[str]) -> None:
    """What is public and without docstring is named; what is private, empty or an addition is not."""
    assert list(rules.undocumented(source)) == missing


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (["LOW", "Apple", "Bee", "act"], False),
        (["Bee", "Apple"], True),
        (["act", "act"], True),
        (["act", "Bee"], True),
    ],
)
def test_unsorted_exports(names: list[str], wrong: bool) -> None:
    """Order and doubles are seen."""
    assert bool(list(rules.unsorted_exports(f"__all__ = {names}"))) == wrong


def test_drawers() -> None:
    """Drawers are found as module and as package, private ones too."""
    assert len(list(rules.drawers(("vdsm_core", "utils", "_helpers.py", "common.py", "commons.py")))) == 3


@pytest.mark.parametrize(
    "text",
    [
        "/" + "home/jane/vdsm",
        "see '/" + "work/main'",
        "/" + "root/.cache",
        "https://pypi" + ".org/simple",
        "--index" + "-url=x",
    ],
)
def test_private_facts(text: str) -> None:
    """A home, a place of work and a package host are found."""
    assert list(rules.private_facts(text))


@pytest.mark.parametrize(
    "text", ["/var/lib/vdsm", "/home/joe/.config", "network/work/", "https://host/api/root", "~/.cache"]
)
def test_private_facts_spare(text: str) -> None:
    """A path that every machine has is none of these."""
    assert list(rules.private_facts(text)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time\ndeadline = time.time() + 5",
        "import time as t\nfrom time import time",
        "clock = time.time_ns",
        "import datetime\nx = datetime.datetime.now()",
        "from datetime import datetime\nx = datetime.utcnow()",
    ],
)
def test_wall_clocks(source: str) -> None:
    """A reading of the wall clock is found, however it is written."""
    assert list(rules.wall_clocks(source))


@pytest.mark.parametrize("source", ["time.monotonic()", "event.time", "datetime.fromtimestamp(1, tz=UTC)"])
def test_wall_clocks_spare(source: str) -> None:
    """The monotonic clock and a time that is there already are none."""
    assert list(rules.wall_clocks(source)) == []


@pytest.mark.parametrize("rule", [rules.wide_classes, rules.undocumented, rules.unsorted_exports])
def test_rules_accept_good_code(rule: Callable[[str], Iterator[str]]) -> None:
    """A module as it should be passes."""
    good = "'''Doc.'''\n__all__ = ['A', 'f']\nclass A:\n    '''Doc.'''\ndef f():\n    '''Doc.'''\n"
    assert list(rule(good)) == []


def test_named_verbs() -> None:
    """A verb is named by a text of its own, or by its full name within one; a docstring may speak of it."""
    names = {"VM.pause", "pause", "getVmStats"}
    assert list(rules.named_verbs('TABLE = {"pause": 1}\nHELP = f"use VM.pause {1}"', names)) == [
        "pause",
        "use VM.pause ",
    ]
    assert (
        list(rules.named_verbs('"""About VM.pause."""\ndef pause():\n    "pause"\nX = "a pause"', names))
        == []
    )
