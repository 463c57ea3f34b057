"""All plugin folders are alike, and all distributions are of one version."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest

from tests.architecture.tree import Plugin, Tree, is_source
from vdsm_bridge import transport
from vdsm_bridge.tool.main import TOOL
from vdsm_core.plugins import GROUPS


def declared(document: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The entry points of ours that a pyproject.toml declares, by group."""
    groups: dict[str, dict[str, str]] = document["project"].get("entry-points", {})
    return {group: names for group, names in groups.items() if group.startswith("vdsm.")}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `plugin` runs for each."""
    if "plugin" in metafunc.fixturenames:
        found = Tree(metafunc.config.rootpath).plugins
        metafunc.parametrize("plugin", found, ids=[plugin.folder.name for plugin in found])


def test_there_are_plugins(tree: Tree) -> None:
    """The tests below have something to run for."""
    assert {"virt", "xmlrpc", "rest", "vdsmsh"} <= {plugin.folder.name for plugin in tree.plugins}


def test_plugin_folder(plugin: Plugin) -> None:
    """A plugin folder holds its metadata, licence, README, package and tests; nothing else."""
    assert {path.name for path in plugin.folder.iterdir() if is_source(path)} == {
        "pyproject.toml",
        "README.md",
        "COPYING",
        plugin.package,
        "tests",
    }


def test_plugin_metadata(plugin: Plugin, tree: Tree) -> None:
    """A plugin is named after its folder, has the root's version, and needs exactly that one."""
    project, root = plugin.metadata["project"], tree.metadata["project"]
    assert project["name"] == plugin.distribution
    assert project["version"] == root["version"]
    assert f"vdsm=={root['version']}" in project["dependencies"]
    assert project["optional-dependencies"]["test"] == [f"vdsm[test]=={root['version']}"]
    assert project["license"] == root["license"]
    assert project["requires-python"] == root["requires-python"]


def test_plugin_is_installed_as_declared(plugin: Plugin) -> None:
    """What is installed offers the entry points that the source declares: `make setup` is not out of date."""
    installed: dict[str, dict[str, str]] = {}
    for entry_point in metadata.distribution(plugin.distribution).entry_points:
        if entry_point.group.startswith("vdsm."):
            installed.setdefault(entry_point.group, {})[entry_point.name] = entry_point.value
    assert installed == declared(plugin.metadata)
    assert bool(installed) != plugin.is_library, "a plugin plugs into something, a library into nothing"


def test_packages_are_typed(tree: Tree) -> None:
    """Each package that we ship is marked as typed."""
    assert [name for name, path in tree.packages.items() if not (path / "py.typed").is_file()] == []


def test_entry_point_groups(tree: Tree) -> None:
    """The declared groups are those that the core, vdsm-tool and vdsmsh load."""
    groups = {group for document in documents(tree) for group in declared(document)}
    assert groups <= {*GROUPS, transport.GROUP, TOOL}


def test_entry_points_load(tree: Tree) -> None:
    """Each entry point of ours names something that is there."""
    for document in documents(tree):
        for group, names in declared(document).items():
            for name, value in names.items():
                assert metadata.EntryPoint(name, value, group).load() is not None


def documents(tree: Tree) -> list[dict[str, Any]]:
    """The metadata of each distribution."""
    return [tree.metadata, *(plugin.metadata for plugin in tree.plugins)]
