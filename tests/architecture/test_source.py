"""The rules of the house, held against the source."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterable

from tests.architecture import rules
from tests.architecture.tree import Tree
from vdsm_core.hypervisor import Hypervisor

#: The one package that may import each of these (DESIGN section 2).
SEAMS = {
    "libvirt": "vdsm_core/hypervisor",
    "libvirt_qemu": "vdsm_core/hypervisor",
    "cherrypy": "plugins/rest/vdsm_rest",
    "proton": "plugins/qmf/vdsm_qmf",
    "xmlrpc": "plugins/xmlrpc/vdsm_xmlrpc",
    "pluggy": "vdsm_core",
}
PROSE = {
    ".md",
    ".toml",
    ".in",
    ".cfg",
    ".ini",
    ".txt",
    ".yaml",
    ".yml",
    ".json",
    ".py",
    ".sh",
    ".html",
    ".js",
    ".css",
    "",
}


def told(found: Iterable[tuple[str, object]]) -> list[str]:
    """Findings, each with its file."""
    return [f"{name}: {what}" for name, what in found]


def test_modules_are_small(tree: Tree) -> None:
    """No Python file, test or product, has more than 500 lines."""
    files = (path for path in tree.files() if path.suffix == ".py")
    findings = ((tree.name(path), rules.too_long(path.read_text("utf-8"))) for path in files)
    assert told((name, what) for name, what in findings if what) == []


def test_durations_are_monotonic(tree: Tree) -> None:
    """The wall clock is read in the modules that have a reason for it, and every listed module does."""
    found = {
        tree.name(path): list(rules.wall_clocks(path.read_text("utf-8")))
        for path in tree.modules()
        if not tree.name(path).startswith(("plugins/http/", "plugins/xmlrpc/", "plugins/rest/"))
    }
    readers = {name for name, what in found.items() if what}
    assert sorted(readers - set(rules.WALL_CLOCK)) == [], "use time.monotonic, or list it with its reason"
    assert sorted(set(rules.WALL_CLOCK) - readers) == [], "listed, but it reads no wall clock any more"


def test_classes_are_narrow(tree: Tree) -> None:
    """No class that we ship has more than 20 public methods."""
    assert (
        told(
            (tree.name(p), what) for p in tree.modules() for what in rules.wide_classes(p.read_text("utf-8"))
        )
        == []
    )


def test_classes_are_narrow_with_what_they_inherit(tree: Tree) -> None:
    """No class that we ship exceeds 20 public methods through base classes of ours."""
    classes = {
        class_
        for path in tree.modules()
        if path.name != "__main__.py"
        for class_ in rules.classes_in(importlib.import_module(tree.dotted(path)))
    }
    assert Hypervisor in classes
    assert sorted(what for class_ in classes if (what := rules.too_wide(class_, tree.packages))) == []


def test_names_tell(tree: Tree) -> None:
    """No module or package is a drawer."""
    found = (
        (tree.name(p), what) for p in tree.modules() for what in rules.drawers(p.relative_to(tree.root).parts)
    )
    assert told(found) == []


def test_public_things_are_documented(tree: Tree) -> None:
    """The core and the bridge say what each public thing is for; an override leaves it to its base."""
    found = (
        (tree.name(path), what)
        for path in tree.modules("vdsm_core", "vdsm_bridge")
        for what in rules.undocumented(path.read_text("utf-8"))
        if not documented_by_base(tree.dotted(path), what)
    )
    assert told(found) == []


def documented_by_base(module: str, name: str) -> bool:
    """Whether a method without docstring overrides one that has it."""
    owner, _, method = name.rpartition(".")
    if not owner:
        return False
    class_ = functools.reduce(getattr, owner.split("."), importlib.import_module(module))
    return inspect.getdoc(inspect.getattr_static(class_, method)) is not None


def test_documented_by_base() -> None:
    """An override of a documented method is told from a method of its own, and from a function."""
    assert documented_by_base("logging", "StreamHandler.flush")
    assert not documented_by_base("tests.architecture.test_source", "Sample.act")
    assert not documented_by_base("tests.architecture.test_source", "Sample")


class Sample:
    def act(self) -> None: ...


def test_exports_are_sorted(tree: Tree) -> None:
    """Each `__all__` is in order."""
    found = (
        (tree.name(p), what) for p in tree.modules() for what in rules.unsorted_exports(p.read_text("utf-8"))
    )
    assert told(found) == []


def test_libraries_stand_behind_their_seams(tree: Tree) -> None:
    """Each library with a seam is imported there and nowhere else."""
    found = [
        (tree.name(path), f"imports {library}, which stands in {seam}")
        for path in tree.modules()
        for library, seam in SEAMS.items()
        if library in rules.imported(path.read_text("utf-8")) and not tree.name(path).startswith(f"{seam}/")
    ]
    assert told(found) == []


def test_the_seam_of_libvirt_is_used(tree: Tree) -> None:
    """The scan sees the import that is allowed: it would see another."""
    seam = tree.root / SEAMS["libvirt"]
    assert any("libvirt" in rules.imported(path.read_text("utf-8")) for path in seam.rglob("*.py"))


def test_nothing_private_is_told(tree: Tree) -> None:
    """No text file names somebody's folders or a host of packages."""
    texts = [path for path in tree.files() if path.suffix in PROSE and not path.is_symlink()]
    assert tree.root / "Makefile" in texts
    found = (
        (tree.name(p), what) for p in texts for what in rules.private_facts(p.read_text("utf-8", "replace"))
    )
    assert told(found) == []
