"""Disabling a feature removes its classes and methods from the bus; enabling it adds them."""

from __future__ import annotations

from typing import Any

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_core import config as configuration
from vdsm_qmf.console import CallRefused, Cluster

from .conftest import Console, MakeHost

INSTANCE = "toggled"


def switch(host: TestHost, *, on: bool) -> None:
    """Switch the sample feature; the other tables stay."""
    tables: dict[str, Any] = {**host.host.config.plugin, "sample": {"enabled": on}}
    users = host.host.config.access.bus_users
    document = {"plugin": tables, "access": {"bus_users": users}}
    host.host.reload(configuration.merge([("test", document)]))


def methods(cluster: Cluster) -> set[str]:
    """Every method of the schema, by full name."""
    return {
        f"{one['_schema_id']['_class_name']}.{method['_name']}"
        for one in cluster.schema(INSTANCE)
        for method in one["_methods"]
    }


def test_a_feature_goes_and_comes(on_bus: MakeHost, console: Console) -> None:
    """The schema, and what can be called, follow at once; the agent is not restarted."""
    host, cluster = on_bus(INSTANCE), console()
    cluster.wait_for(INSTANCE)
    before = methods(cluster)
    assert {"Lamp.list", "Room.add", "Host.ping"} <= before
    switch(host, on=False)
    assert {name.partition(".")[0] for name in before - methods(cluster)} == {
        "Drawer",
        "Lamp",
        "Rack",
        "Room",
    }
    with pytest.raises(CallRefused, match=r"Room\.add"):
        cluster.call(INSTANCE, "Room.add", {"left": 1})
    switch(host, on=True)
    assert methods(cluster) == before
    assert int(cluster.call(INSTANCE, "Room.add", {"left": 1})) == 2
