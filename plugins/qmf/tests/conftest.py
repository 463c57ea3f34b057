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
from vdsm_qmf import QmfBinding
from vdsm_qmf.console import Cluster
from vdsm_qmf.testing import PASSWORD, USER, RabbitMQ

#: Seconds between heartbeats, short, so that tests of liveness are.
HEARTBEAT = 0.5

MakeHost = Callable[..., TestHost]
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


@pytest.fixture(autouse=True)
def settled(broker: RabbitMQ) -> Iterator[None]:
    """As everywhere, nothing is left behind; the broker of the run, which comes first, is not."""
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


@pytest.fixture
def on_bus(broker: RabbitMQ, tmp_path: Path) -> Iterator[MakeHost]:
    """A function that starts hosts on the bus: the sample feature, the binding with the given options."""
    with ExitStack() as stack:

        def start(
            instance: str, *, url: str = "", access: dict[str, Any] | None = None, **more: Any
        ) -> TestHost:
            config = {
                "plugin": {"qmf": options(url or broker.url, tmp_path, instance=instance, **more)},
                "access": {"bus_users": {USER: "admin"}, **(access or {})},
            }
            return stack.enter_context(TestHost(bindings={"qmf": QmfBinding}, config=config))

        yield start


@pytest.fixture
def console(broker: RabbitMQ) -> Iterator[Console]:
    """A function that makes consoles, connected."""
    with ExitStack() as stack:

        def make(url: str = "", **more: Any) -> Cluster:
            arguments = {"password": PASSWORD, **more}
            return stack.enter_context(Cluster(url or broker.url, **arguments))

        yield make
