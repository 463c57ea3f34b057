"""A broker for the whole run, and hosts that are on it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.settled import Held
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_qmf import QmfBinding
from vdsm_qmf.agent import Agent
from vdsm_qmf.console import Cluster
from vdsm_qmf.testing import PASSWORD, USER, RabbitMQ

#: Seconds between heartbeats, short, so that tests of liveness are.
HEARTBEAT = 0.5

Console = Callable[..., Cluster]


@pytest.fixture(scope="session")
def broker() -> Iterator[RabbitMQ]:
    """A RabbitMQ of this run; tests that end it have one of their own."""
    users = {"engine": "engine", "guard": "guard"}
    with (
        tempfile.TemporaryDirectory(prefix="vdsm-broker-") as folder,
        RabbitMQ(Path(folder) / "rabbit", users=users) as broker,
    ):
        yield broker


@pytest.fixture
def own_broker() -> Iterator[RabbitMQ]:
    """A broker that a test ends, or holds up, as it likes."""
    with tempfile.TemporaryDirectory(prefix="vdsm-broker-") as folder, RabbitMQ(Path(folder)) as broker:
        yield broker


@pytest.fixture(autouse=True)
def settled(broker: RabbitMQ) -> Iterator[None]:
    """Nothing is left behind by a test; the broker of the run, which starts first, stays."""
    before = Held.now()
    yield
    if left := before.left_since():
        pytest.fail(f"left behind: {left}")


def password_file(folder: Path, password: str = PASSWORD) -> str:
    """A file with a password, as the option wants it."""
    file = folder / "password"
    file.write_text(password)
    file.chmod(0o600)
    return str(file)


def options(url: str, folder: Path, **more: Any) -> dict[str, Any]:
    """The table of the binding for one broker."""
    return {
        "brokers": [url],
        "password_file": password_file(folder),
        "heartbeat": HEARTBEAT,
        "data_interval": 0,
        "reconnect_most": 1.0,
        **more,
    }


class BusHost(TestHost):
    """A host whose binding can be looked at."""

    def __init__(self, config: dict[str, Any], verbs: dict[str, Any] | None) -> None:
        made = self.made = list[QmfBinding]()

        class Seen(QmfBinding):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                made.append(self)

        super().__init__(verbs=verbs, bindings={"qmf": Seen}, config=config)

    @property
    def agent(self) -> Agent:
        """The agent of the binding."""
        agent = self.made[-1].agent
        assert agent is not None
        return agent


MakeHost = Callable[..., BusHost]


@pytest.fixture
def on_bus(broker: RabbitMQ, tmp_path: Path) -> Iterator[MakeHost]:
    """A function that starts hosts on the bus: the sample feature, the binding with the given options."""
    with ExitStack() as stack:

        def start(
            instance: str,
            *,
            url: str = "",
            access: dict[str, Any] | None = None,
            verbs: dict[str, Any] | None = None,
            **more: Any,
        ) -> BusHost:
            config = {
                "plugin": {"qmf": options(url or broker.url, tmp_path, instance=instance, **more)},
                "access": {"bus_users": {USER: "admin"}, **(access or {})},
            }
            host = stack.enter_context(BusHost(config, verbs))
            until(lambda: host.agent.bus.is_up, detail=lambda: host.agent.bus.trouble)
            return host

        yield start


@pytest.fixture
def console(broker: RabbitMQ) -> Iterator[Console]:
    """A function that makes consoles, connected."""
    with ExitStack() as stack:

        def make(url: str = "", **more: Any) -> Cluster:
            arguments = {"password": PASSWORD, **more}
            return stack.enter_context(Cluster(url or broker.url, **arguments))

        yield make
