"""Two federated brokers, as in the how-to: a console on either sees the hosts of both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from vdsm_qmf.console import Cluster
from vdsm_qmf.testing import PASSWORD, USER, RabbitMQ

from .conftest import MakeHost

LAMP = "00000000-0000-4000-8000-000000000012"


class Site(RabbitMQ):
    """A broker that takes what is sent to the exchanges of another one as well."""

    def join(self, other: RabbitMQ) -> None:
        """Before it is started."""
        document = json.loads((self.folder / "definitions.json").read_text())
        uri = f"amqp://{USER}:{PASSWORD}@127.0.0.1:{other.port}"
        document["parameters"] = [
            {
                "vhost": "/",
                "component": "federation-upstream",
                "name": "other",
                "value": {"uri": uri, "max-hops": 1, "reconnect-delay": 1},
            }
        ]
        document["policies"].append(
            {
                "vhost": "/",
                "name": "sites",
                "pattern": "^qmf\\.default\\.",
                "apply-to": "exchanges",
                "definition": {"federation-upstream-set": "all"},
                "priority": 1,
            }
        )
        (self.folder / "definitions.json").write_text(json.dumps(document))
        (self.folder / "enabled_plugins").write_text("[rabbitmq_amqp1_0,rabbitmq_federation].\n")


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[list[Site]]:
    sites = [Site(tmp_path / "west"), Site(tmp_path / "east")]
    for site in sites:
        site.prepare()
    sites[0].join(sites[1])
    sites[1].join(sites[0])
    with sites[0], sites[1]:
        yield sites


def test_a_console_sees_both_sites(sites: list[Site], on_bus: MakeHost) -> None:
    """It finds and calls the hosts of the other site like its own, and receives each of their events once."""
    hosts = {name: on_bus(name, url=site.url) for name, site in zip(("west", "east"), sites, strict=True)}
    for host in hosts.values():
        host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    for site in sites:
        with Cluster(site.url, password=PASSWORD) as cluster:
            assert cluster.wait_for("west", "east", timeout=60.0) == ["east", "west"]
            results = cluster.call_all("Room.add", {"left": 1}, timeout=20.0)
            assert {name: result.get() for name, result in results.items()} == {"west": 2, "east": 2}
            with cluster.events("|sample|switched") as stream:
                for turn in range(10):
                    for host in hosts.values():
                        host.call("Lamp.switch", lampID=LAMP, lit=bool(turn % 2))
                events = [stream.next(20.0) for _ in range(20)]
                assert stream.next(0.5) is None
        for name in hosts:
            mine = [event for event in events if event is not None and event.host == name]
            assert [event.params["lit"] for event in mine] == [bool(turn % 2) for turn in range(10)]
