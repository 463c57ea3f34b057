"""Who may import whom, by import-linter and by looking at what is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.tree import Tree

WIRE = {"cherrypy", "cheroot", "xmlrpc", "proton", "httpx", "cliff", "cmd2", "rich"}
#: Import everything below a package, then print what is loaded.
LOAD = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.startswith(tuple(sys.argv[2:])):
        importlib.import_module(module.name)
print(*{name.partition(".")[0] for name in sys.modules})
"""


def loaded_by(package: str, *without: str) -> set[str]:
    """The top-level names of all that a package loads, its own modules all imported."""
    command = [sys.executable, "-c", LOAD, package, *(without or ("-",))]
    return set(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split())


def contracts(tree: Tree) -> list[dict[str, Any]]:
    """import-linter's contracts."""
    found: list[dict[str, Any]] = tree.metadata["tool"]["importlinter"]["contracts"]
    return found


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the configuration in a folder."""
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([program, "--no-cache"], cwd=folder, check=False, capture_output=True, text=True)


def test_core_loads_no_wire_and_no_bridge(tree: Tree) -> None:
    """No module of the core imports a protocol, the bridge or a plugin."""
    others = tree.packages.keys() - {"vdsm_core"}
    assert loaded_by("vdsm_core") & (WIRE | others) == set()


def test_bridge_loads_no_wire_and_no_plugin(tree: Tree) -> None:
    """The bridge, except its test kit, imports no protocol and no plugin."""
    plugins = {plugin.package for plugin in tree.plugins}
    assert loaded_by("vdsm_bridge", "vdsm_bridge.testing") & (WIRE | plugins) == set()


def test_loading_is_seen() -> None:
    """The look at what is loaded sees what is: the bridge loads the core."""
    assert "vdsm_core" in loaded_by("vdsm_bridge", "vdsm_bridge.testing")


def test_import_contracts_hold(tree: Tree) -> None:
    """import-linter finds every contract kept."""
    answer = lint_imports(tree.root)
    assert answer.returncode == 0, answer.stdout


def test_import_contracts_know_every_package(tree: Tree) -> None:
    """A new package cannot be left out of the contracts."""
    packages, plugins = set(tree.packages), {plugin.package for plugin in tree.plugins}
    libraries = {plugin.package for plugin in tree.plugins if plugin.is_library}
    assert set(tree.metadata["tool"]["importlinter"]["root_packages"]) == packages
    (independence,) = (one for one in contracts(tree) if one["type"] == "independence")
    assert set(independence["modules"]) == plugins - libraries
    forbidding = {
        tuple(one["source_modules"]): set(one["forbidden_modules"])
        for one in contracts(tree)
        if one["type"] == "forbidden"
    }
    assert packages - {"vdsm_core"} <= forbidding["vdsm_core",]
    assert plugins <= forbidding["vdsm_bridge",]
    for library in libraries:
        assert packages - {"vdsm_bridge", library} == forbidding[library,]


def test_import_contracts_know_every_binding(tree: Tree) -> None:
    """Bindings and transports may import the bridge only, and the contract lists all of them."""
    groups = {"vdsm.bindings", "vdsm.transports"}
    bindings = {
        plugin.package
        for plugin in tree.plugins
        if groups & plugin.metadata["project"].get("entry-points", {}).keys()
    }
    (contract,) = (
        one
        for one in contracts(tree)
        if bindings & set(one.get("source_modules", ())) and "vdsm_core" in one["forbidden_modules"]
    )
    assert bindings == set(contract["source_modules"])


@pytest.mark.parametrize(("line", "broken"), [("import colorsys", True), ("import string", False)])
def test_import_linter_finds_a_breach(tmp_path: Path, line: str, broken: bool) -> None:
    """Run as in these tests, import-linter finds a breach, and none where there is none."""
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "__init__.py").write_text(line)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.importlinter]\nroot_packages = ["sample"]\ninclude_external_packages = true\n'
        '[[tool.importlinter.contracts]]\nname = "c"\ntype = "forbidden"\n'
        'source_modules = ["sample"]\nforbidden_modules = ["colorsys"]\n'
    )
    assert bool(lint_imports(tmp_path).returncode) == broken
