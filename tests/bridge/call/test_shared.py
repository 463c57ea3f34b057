"""What plugins of one daemon have in common."""

from __future__ import annotations

from vdsm_bridge.call.shared import Shared


class Thing:
    """Something that is shared."""


def test_one_object_of_each_type() -> None:
    """The first request creates the object; later ones return the same, other types another."""
    shared = Shared()
    first = shared.get(Thing)
    assert shared.get(Thing) is first
    assert isinstance(shared.get(list), list)


def test_hosts_share_nothing() -> None:
    """Two daemons in one process have an object each."""
    assert Shared().get(Thing) is not Shared().get(Thing)
