"""A host that serves REST, for each test its own."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.tokens import write_tokens
from vdsm_core.plugins import BINDINGS, discover
from vdsm_rest import RestBinding

from .rest_client import RestClient

#: The id of the lamp that hangs in each host.
LAMP = "11111111-2222-4333-8444-555555555555"


class Served:
    """A host with its REST sockets."""

    def __init__(self, host: TestHost) -> None:
        self.host = host

    @property
    def addresses(self) -> tuple[str, ...]:
        (info,) = (plugin for plugin in self.host.host.plugins() if plugin.name == "rest")
        assert info.state == "running", info.error
        return tuple(info.address)

    @property
    def url(self) -> str:
        """The one on TCP."""
        return next(address for address in self.addresses if address.startswith("http"))

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


Serve = Callable[..., Served]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path is short enough for a unix socket (108 bytes, unix(7))."""
    with tempfile.TemporaryDirectory(prefix="vdsm-") as folder:
        yield Path(folder)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A function that starts a host; `installed` brings all features that are installed here."""
    with ExitStack() as stack:

        def start(
            *,
            verbs: dict[str, Any] | None = None,
            installed: bool = False,
            access: dict[str, Any] | None = None,
            **options: Any,
        ) -> Served:
            others = {plugin.name: {"enabled": False} for plugin in discover(BINDINGS)}
            config = {
                "plugin": {**others, "rest": {"port": 0, **options}},
                "access": {"tokens": str(write_tokens(tmp_path)), **(access or {})},
            }
            host = TestHost(bindings={"rest": RestBinding}, verbs=verbs, installed=installed, config=config)
            stack.enter_context(host)
            host.call("Lamp.create", lamp={"lampID": LAMP, "name": "first"})
            return Served(host)

        yield start


@pytest.fixture
def served(serve: Serve) -> Served:
    """A host with the default options."""
    return serve()


@pytest.fixture
def client(served: Served) -> Iterator[RestClient]:
    """A client over TCP."""
    with RestClient(served.url) as client:
        yield client


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """`Host.setLogLevel` changes the process; a test does not."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
