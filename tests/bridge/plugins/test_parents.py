"""Plugins whose namespaces lie in those of other plugins."""

from __future__ import annotations

from collections.abc import Sequence

from vdsm_bridge import Feature, Namespace, query
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until


class Lease(Namespace, key="leaseID", parent="Shed"):
    """A lease in a shed, whose plugin comes later by name."""

    @query(since="1.0")
    def get_owner(self, lease_id: str, shed_id: str) -> str:
        """Who has it."""
        return f"{shed_id}/{lease_id}"


class Shed(Namespace, key="shedID"):
    """A shed."""

    @query(since="1.0")
    def get_size(self, shed_id: str) -> int:
        """How large it is."""
        return len(shed_id)


class Leases(Feature):
    """The child."""

    def namespaces(self) -> Sequence[Namespace]:
        """Leases."""
        return [Lease()]


class Sheds(Feature):
    """The parent."""

    def namespaces(self) -> Sequence[Namespace]:
        """Sheds."""
        return [Shed()]


def test_the_parent_starts_later() -> None:
    """The child is tried again, and runs as soon as the parent does."""
    with TestHost(verbs={"a_leases": Leases, "sheds": Sheds}) as host:
        until(lambda: "Lease.getOwner" in host.bridge.verbs)
        assert host.call("Lease.getOwner", leaseID="l", shedID="s") == "s/l"
        assert host.bridge.verbs["Lease.getOwner"].keys == ("shedID", "leaseID")


def test_the_parent_is_not_there() -> None:
    """Everything else runs; the plugin's error names what is missing and announces the retry."""
    with TestHost(verbs={"a_leases": Leases}) as host:
        (info,) = [plugin for plugin in host.host.plugins() if plugin.name == "a_leases"]
        assert (info.state, info.retrying) == ("failed", True)
        assert "no running plugin offers its parent Shed" in info.error
        assert "Lamp.list" in host.bridge.verbs
