"""The rules, applied to the source."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterable

from tests.architecture import rules
from tests.architecture.tree import Tree
from vdsm_core.hypervisor import Hypervisor

#: The packages that may import each of these (DESIGN section 2).
SEAMS = {
    "libvirt": "vdsm_core/hypervisor",
    "libvirt_qemu": "vdsm_core/hypervisor",
    "cherrypy": "plugins/rest/vdsm_rest",
    "proton": "plugins/qmf/vdsm_qmf",
    "re2": "plugins/qmf/vdsm_qmf plugins/hooks/vdsm_hooks",
    "xmlrpc": "plugins/xmlrpc/vdsm_xmlrpc",
    "pluggy": "vdsm_core",
}
#: Clients of services that speak what a seam speaks (docs/decisions/0038-services-of-the-host.md).
CLIENTS = {"plugins/virt/vdsm_virt/tuning/mom.py": "xmlrpc"}
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


def reported(found: Iterable[tuple[str, object]]) -> list[str]:
    """Findings, each with its file."""
    return [f"{name}: {what}" for name, what in found]


def test_modules_are_small(tree: Tree) -> None:
    """No Python file, test or product, has more than 500 lines."""
    files = (path for path in tree.files() if path.suffix == ".py")
    findings = ((tree.name(path), rules.too_long(path.read_text("utf-8"))) for path in files)
    assert reported((name, what) for name, what in findings if what) == []


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


def test_language_is_plain(tree: Tree) -> None:
    """No docstring, comment or message uses a phrase of the list, in the product or in its tests."""
    files = [
        path for path in tree.files() if path.suffix == ".py" and rules.has_plain_language(tree.name(path))
    ]
    found = ((tree.name(path), what) for path in files for what in rules.unplain(path.read_text("utf-8")))
    assert reported(found) == []


def test_language_of_pages_is_plain(tree: Tree) -> None:
    """No page in Markdown uses a phrase of the list, except in code."""
    pages = [
        path for path in tree.files() if path.suffix == ".md" and rules.has_plain_language(tree.name(path))
    ]
    assert tree.root / "README.md" in pages
    found = (
        (tree.name(path), what) for path in pages for what in rules.unplain_page(path.read_text("utf-8"))
    )
    assert reported(found) == []


def test_classes_are_narrow(tree: Tree) -> None:
    """No class that we ship has more than 20 public methods."""
    assert (
        reported(
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
    assert reported(found) == []


def test_public_things_are_documented(tree: Tree) -> None:
    """The core and the bridge say what each public thing is for; an override leaves it to its base."""
    found = (
        (tree.name(path), what)
        for path in tree.modules("vdsm_core", "vdsm_bridge")
        for what in rules.undocumented(path.read_text("utf-8"))
        if not documented_by_base(tree.dotted(path), what)
    )
    assert reported(found) == []


def documented_by_base(module: str, name: str) -> bool:
    """Whether a method without docstring overrides one that has it."""
    owner, _, method = name.rpartition(".")
    if not owner:
        return False
    class_ = functools.reduce(getattr, owner.split("."), importlib.import_module(module))
    return inspect.getdoc(inspect.getattr_static(class_, method)) is not None


def test_documented_by_base() -> None:
    """An override of a documented method is distinguished from a new method, and from a function."""
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
    assert reported(found) == []


def test_libraries_stand_behind_their_seams(tree: Tree) -> None:
    """Each library with a seam is imported there and nowhere else."""
    found = [
        (tree.name(path), f"imports {library}, which stands in {seam}")
        for path in tree.modules()
        for library, seam in SEAMS.items()
        if library in rules.imported(path.read_text("utf-8"))
        and not any(tree.name(path).startswith(f"{each}/") for each in seam.split())
        and CLIENTS.get(tree.name(path)) != library
    ]
    assert reported(found) == []


def test_the_seam_of_libvirt_is_used(tree: Tree) -> None:
    """The scan sees the import that is allowed: it would see another."""
    seam = tree.root / SEAMS["libvirt"]
    assert any("libvirt" in rules.imported(path.read_text("utf-8")) for path in seam.rglob("*.py"))


def test_nothing_private_is_reported(tree: Tree) -> None:
    """No text file names the folders of a person or the host of a package index."""
    texts = [path for path in tree.files() if path.suffix in PROSE and not path.is_symlink()]
    assert tree.root / "Makefile" in texts
    found = (
        (tree.name(p), what) for p in texts for what in rules.private_facts(p.read_text("utf-8", "replace"))
    )
    assert reported(found) == []
