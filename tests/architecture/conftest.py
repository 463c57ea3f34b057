"""The checkout that the rules are held against."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.tree import Tree


@pytest.fixture(scope="session")
def tree() -> Tree:
    """This checkout."""
    return Tree(Path(__file__).parents[2])
