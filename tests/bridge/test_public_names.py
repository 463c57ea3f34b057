"""What a plugin may import: docs/reference/plugin-api.md lists it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import vdsm_bridge
from vdsm_core.plugins import PLUGIN_API

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "plugin-api.md").read_text("utf-8")
#: Module -> names, as in the page's table.
PUBLIC = {
    module: re.findall(r"`([^`]+)`", names)
    for module, names in re.findall(r"^\| `(vdsm_[\w.]+)` \| (.+) \|$", PAGE, re.MULTILINE)
}


def test_every_public_name_is_there() -> None:
    """Names are loaded at their first use, each from where it lives."""
    for name in vdsm_bridge.__all__:
        assert getattr(vdsm_bridge, name).__name__ == name


def test_other_names_are_not() -> None:
    """A name that does not exist is an ordinary error."""
    with pytest.raises(AttributeError, match="has no attribute 'Brigde'"):
        _ = vdsm_bridge.Brigde


def isort_key(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, each by name."""
    return 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name


@pytest.mark.parametrize("module", PUBLIC)
def test_the_page_lists_what_a_module_offers(module: str) -> None:
    """Exactly the `__all__` of each, sorted, and each name is there."""
    loaded = importlib.import_module(module)
    assert PUBLIC[module] == list(loaded.__all__) == sorted(loaded.__all__, key=isort_key)
    assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == []


def test_the_page_names_the_version() -> None:
    """The one that plugins are held against."""
    assert f"This is version {PLUGIN_API}." in PAGE
    assert {"vdsm_bridge", "vdsm_bridge.types", "vdsm_bridge.errors"} <= PUBLIC.keys()


@pytest.mark.parametrize("folder", ["vdsm-hello", "vdsm-ndjson"])
def test_the_examples_keep_to_it(folder: str) -> None:
    """They import nothing of ours that the page does not list."""
    example = Path(__file__).parents[2] / "examples" / folder
    imported = [
        (module, name.strip())
        for file in example.rglob("*.py")
        for module, names in re.findall(
            r"^from (vdsm_(?:core|bridge)[\w.]*) import (.+)$", file.read_text(), re.M
        )
        for name in names.split(",")
    ]
    assert imported
    assert [(module, name) for module, name in imported if name not in PUBLIC.get(module, [])] == []
