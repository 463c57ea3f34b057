"""The layers of the packages, drawn from their imports.

`docs/reference/layers.md` is written by

    VDSM_WRITE_LAYERS=1 python -m pytest tests/architecture/test_layers.py
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

from tests.architecture.tree import Tree

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "layers.md"
#: Packages that are drawn room by room; all others are one room each.
OPEN = ("vdsm_core", "vdsm_bridge")
#: Imports within functions that close a cycle, beside the exceptions of import-linter. The check of the names
#: in `[hooks.deadlines]` imports the declarations of hooks.
LAZY = [("vdsm_core.config", "vdsm_core.hooks.specs")]
HEAD = """# The layers

Every room imports only rooms of lower levels. The table is computed from the imports of the source, without
those for type checking and those that follow from others in the row. A test writes this page, and fails when
it is out of date or when rooms import each other. The contracts of import-linter in `pyproject.toml` are
stricter.

Exceptions:
{exceptions}
| level | room | imports |
| --- | --- | --- |
"""


def room_of(module: str) -> str:
    """Return the room that a module belongs to: a child of an open package, or its package."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] in OPEN else 1])


def exceptions(tree: Tree) -> list[tuple[str, str]]:
    """Return the imports that contracts of import-linter except: importer and imported module."""
    contracts = tree.metadata["tool"]["importlinter"]["contracts"]
    ignored = [each for contract in contracts for each in contract.get("ignore_imports", ())]
    return [(importer, imported) for importer, _, imported in (each.partition(" -> ") for each in ignored)]


def imports_of_rooms(packages: Collection[str], excepted: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Return the rooms that each room imports."""
    graph = grimp.build_graph(*sorted(packages), exclude_type_checking_imports=True, cache_dir=None)
    for importer, imported in excepted:
        # An import of a library is no edge of the graph.
        if imported in graph.modules:
            graph.remove_import(importer=importer, imported=imported)
    rooms: dict[str, set[str]] = {}
    for module in graph.modules:
        below = {room_of(other) for other in graph.find_modules_directly_imported_by(module)}
        rooms.setdefault(room_of(module), set()).update(below)
    return {room: below - {room} for room, below in rooms.items()}


def levels_of(rooms: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the level of each room, one above the highest that it imports; 0 if it imports none.

    :raises graphlib.CycleError: rooms import each other
    """
    levels: dict[str, int] = {}
    for room in TopologicalSorter(rooms).static_order():
        levels[room] = max((levels[other] + 1 for other in rooms.get(room, ())), default=0)
    return levels


def direct(rooms: Mapping[str, set[str]], room: str) -> list[str]:
    """Return the imports of a room that do not follow from its other imports."""

    @cache
    def below(other: str) -> frozenset[str]:
        return frozenset().union(*({each} | below(each) for each in rooms.get(other, ())))

    return sorted(each for each in rooms[room] if not any(each in below(other) for other in rooms[room]))


def drawn(rooms: Mapping[str, set[str]], excepted: Iterable[tuple[str, str]]) -> str:
    """Return the page."""
    levels = levels_of(rooms)
    rows = sorted(rooms, key=lambda room: (-levels[room], room))
    names = "".join(f"- `{importer}` imports `{imported}`.\n" for importer, imported in excepted)
    return HEAD.format(exceptions=names) + "".join(
        f"| {levels[room]} | `{room}` | {', '.join(f'`{other}`' for other in direct(rooms, room))} |\n"
        for room in rows
    )


def test_the_layers_are_as_drawn(tree: Tree) -> None:
    """The page is that of the present imports, and no rooms import each other."""
    excepted = [*exceptions(tree), *LAZY]
    page = drawn(imports_of_rooms(tree.packages, excepted), excepted)
    if os.environ.get("VDSM_WRITE_LAYERS"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page, (
        "run: VDSM_WRITE_LAYERS=1 python -m pytest tests/architecture/test_layers.py"
    )


def test_levels_and_direct_imports() -> None:
    """A room is one level above the highest that it imports; implied imports are left out; a cycle fails."""
    rooms = {"roof": {"wall", "floor"}, "wall": {"floor"}, "floor": set()}
    assert levels_of(rooms) == {"roof": 2, "wall": 1, "floor": 0}
    assert direct(rooms, "roof") == ["wall"]
    assert drawn(rooms, []).endswith(
        "| 2 | `roof` | `wall` |\n| 1 | `wall` | `floor` |\n| 0 | `floor` |  |\n"
    )
    with pytest.raises(CycleError):
        drawn({"roof": {"wall"}, "wall": {"roof"}}, [])
