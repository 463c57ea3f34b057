"""Objects that lie in others: their ids or names are words, the outermost first."""

from __future__ import annotations

import json

import pytest

from vdsm_bridge.testing import TestHost

from .conftest import Run

LEFT, RIGHT, TOP = "rack:1", "rack/2", "d 1"


@pytest.fixture(autouse=True)
def drawers(host: TestHost) -> None:
    """Two racks with names, and in each a drawer of the same id with a name of its own."""
    for rack, name, drawer in ((LEFT, "left", "saws"), (RIGHT, "right", "axes")):
        host.call("Rack.create", rackID=rack, name=name)
        host.call("Drawer.create", rackID=rack, drawerID=TOP, name=drawer)


def test_ids_and_names(run: Run) -> None:
    """An object is found by its ids, by the names, or by some of both; each name within its parent."""
    for rack in (LEFT, "left"):
        for drawer in (TOP, "saws"):
            shown = json.loads(run("drawer", "info", rack, drawer, "-f", "json").out)
            assert (shown["rackID"], shown["drawerID"], shown["name"]) == (LEFT, TOP, "saws")
    refused = run("drawer", "info", "right", "saws")
    assert (refused.code, refused.err) == (
        1,
        f"vdsmsh: there is no Drawer 'saws'; `vdsmsh drawer list {RIGHT}` lists them\n",
    )


def test_collections(host: TestHost, run: Run) -> None:
    """A verb on a collection takes the parents only; the new object's id is an option."""
    listed = json.loads(run("drawer", "list", "right", "-f", "json").out)
    assert [row["name"] for row in listed] == ["axes"]
    assert run("drawer", "create", "right", "--drawer-id", "low", "--name", "bits").code == 0
    assert host.call("Drawer.getInfo", rackID=RIGHT, drawerID="low").name == "bits"
    assert "--drawer-id is required" in run("drawer", "create", "right").err


def test_changes(host: TestHost, run: Run) -> None:
    """Actions and tasks work on the object that the words name."""
    assert run("drawer", "put", "left", "saws", "--tool", "jigsaw").code == 0
    assert run("drawer", "sort", "left", "saws", "--wait").code == 0
    assert host.call("Drawer.getInfo", rackID=LEFT, drawerID=TOP).tools == ["jigsaw"]
    assert run("drawer", "remove", "left", "saws").code == 0
    assert host.call("Drawer.list", rackID=LEFT) == []
    assert len(host.call("Drawer.list", rackID=RIGHT)) == 1


def test_help(run: Run) -> None:
    """The help shows the words in their order, whatever that of the parameters is."""
    assert "vdsmsh drawer info RACK DRAWER [options]" in run("drawer", "info", "--help").out
    assert "vdsmsh drawer put RACK DRAWER --tool TOOL [options]" in run("drawer", "put", "--help").out
    assert "the following arguments are required: DRAWER" in run("drawer", "info", "left").err


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("vdsmsh drawer info ", "left right"),
        ("vdsmsh drawer info left ", "saws"),
        ("vdsmsh drawer info right ", "axes"),
        ("vdsmsh drawer info rack/2 a", "axes"),
        ("vdsmsh drawer put left --tool x s", "saws"),
        ("vdsmsh drawer info left saws ", ""),
        ("vdsmsh drawer info nowhere ", ""),
        ("vdsmsh drawer list ri", "right"),
    ],
)
def test_completion(run: Run, line: str, candidates: str) -> None:
    """Each word has the objects that lie in those before it."""
    assert run("__complete", "bash", line).out.split("\n") == [*candidates.split(), ""]
