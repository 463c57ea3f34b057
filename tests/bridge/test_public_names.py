"""What a plugin imports from the bridge itself."""

from __future__ import annotations

import pytest

import vdsm_bridge


def test_every_public_name_is_there() -> None:
    """Names are loaded at their first use, each from where it lives."""
    for name in vdsm_bridge.__all__:
        assert getattr(vdsm_bridge, name).__name__ == name


def test_other_names_are_not() -> None:
    """A name that does not exist is an ordinary error."""
    with pytest.raises(AttributeError, match="has no attribute 'Brigde'"):
        _ = vdsm_bridge.Brigde
