"""The base of the contract suite: a host with one binding, its clients, and comparisons."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import pytest

from vdsm_bridge.testing.canonical import canonical
from vdsm_bridge.testing.client import BridgeClient, Client, ContractError, EventReader
from vdsm_bridge.testing.host import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.tokens import write_tokens
from vdsm_core.plugins import BINDINGS, discover

SLUG: Final = "slug"
TOKEN: Final = "token"  # noqa: S105 - the name of a capability
REQUEST_ID: Final = "request id"
DEADLINE: Final = "deadline"
#: What a protocol may be able to carry beside verbs, arguments, results, codes and messages.
EVERYTHING: Final = frozenset({SLUG, TOKEN, REQUEST_ID, DEADLINE})
#: Name of the audit log, in the folder of the test.
AUDIT: Final = "audit.log"
#: Seconds that the suite waits for something that is about to happen.
PATIENCE: Final = 20.0


class Failure(NamedTuple):
    """A refused call, to compare."""

    slug: str
    code: int
    message: str


class Harness:
    """A host that serves one binding. Fixtures and helpers only; the tests are in `BindingContract`."""

    #: The binding's plugin name and class. Without a class nothing is served (the bridge's own run).
    name: ClassVar[str] = ""
    binding: ClassVar[Any] = None
    #: Its table of the configuration.
    options: ClassVar[Mapping[str, Any]] = {"port": 0}
    #: Keys of the table `access`, beside the file of tokens.
    access: ClassVar[Mapping[str, Any]] = {}
    #: Whether its protocol carries numbers and booleans as text.
    text: ClassVar[bool] = False
    #: What its protocol can carry.
    carries: ClassVar[frozenset[str]] = EVERYTHING

    def connect(self, host: TestHost) -> Client:
        """A new client of the binding, which serves on `self.address_of(host)`."""
        raise NotImplementedError

    def stream(
        self, host: TestHost, pattern: str = "", *, after: int | None = None, snapshot: bool = False
    ) -> EventReader:
        """A stream of events that has begun, if the binding has such; then the suite reads it, too.

        :param after: begin behind the event of this number
        :param snapshot: begin with the current states
        """
        raise NotImplementedError

    def call_on_object(
        self,
        client: Any,
        host: TestHost,  # noqa: ARG002 - for those who override it
        verb: str,
        arguments: Mapping[str, Any],
    ) -> Any:
        """Call a verb by the binding's own way of naming objects, if it has one; else by the verb's name."""
        return client.call(verb, arguments)

    def address_of(self, host: TestHost) -> str:
        """The first URL of the binding."""
        (info,) = (plugin for plugin in host.host.plugins() if (plugin.name, plugin.group) == self._key)
        assert info.state == "running", info.error
        return str(info.address[0])

    @property
    def _key(self) -> tuple[str, str]:
        return self.name, BINDINGS

    @pytest.fixture
    def host(self, tmp_path: Path) -> Iterator[TestHost]:
        """A host with the sample, and with this binding alone."""
        with self._serving(tmp_path, installed=False) as host:
            yield host

    @pytest.fixture
    def full_host(self, tmp_path: Path) -> Iterator[TestHost]:
        """The same, with all features that are installed here, third parties' too."""
        with self._serving(tmp_path, installed=True) as host:
            yield host

    def _serving(
        self, folder: Path, *, installed: bool, clock: Callable[[], float] = time.monotonic, **tables: Any
    ) -> TestHost:
        others: dict[str, dict[str, Any]] = {plugin.name: {"enabled": False} for plugin in discover(BINDINGS)}
        config = {
            "plugin": {**others, **({self.name: dict(self.options)} if self.binding is not None else {})},
            "access": {"tokens": str(write_tokens(folder)), **self.access},
            "audit": {"file": str(folder / AUDIT)},
            **tables,
        }
        bindings = {self.name: self.binding} if self.binding is not None else {}
        return TestHost(bindings=bindings, installed=installed, config=config, clock=clock)

    @pytest.fixture
    def connection(self, host: TestHost) -> Iterator[Callable[[], Client]]:
        """A function that makes clients, for a test that needs several."""
        with ExitStack() as stack:

            def make() -> Client:
                client = self.connect(host)
                stack.callback(client.close)
                return client

            yield make

    @pytest.fixture
    def client(self, connection: Callable[[], Client]) -> Client:
        """A client of the binding."""
        return connection()

    @pytest.fixture
    def bridge(self, host: TestHost) -> BridgeClient:
        """The yardstick."""
        return BridgeClient(host.bridge, text=self.text)

    @pytest.fixture
    def lamp(self, host: TestHost) -> str:
        """The id of a new lamp."""
        lamp_id = str(uuid.uuid4())
        host.call("Lamp.create", lamp={"lampID": lamp_id, "name": "test"})
        return lamp_id

    def needs(self, capability: str) -> None:
        """Skip the test if the protocol cannot carry this."""
        if capability not in self.carries:
            pytest.skip(f"this protocol carries no {capability}")

    def failure(
        self, client: Client, verb: str, arguments: Mapping[str, Any], **circumstances: Any
    ) -> Failure:
        """The error of a call that must fail, without its slug where the protocol has none."""
        with pytest.raises(ContractError) as caught:
            client.call(verb, arguments, **circumstances)
        error = caught.value
        return Failure(error.slug if SLUG in self.carries else "", error.code, error.message)

    def outcome(
        self,
        client: Client,
        host: TestHost,
        verb: str,
        arguments: Mapping[str, Any],
        *,
        text: bool = False,
        **circumstances: Any,
    ) -> Any:
        """The result of a call in its canonical form, or its `Failure`."""
        try:
            result = client.call(verb, arguments, **circumstances)
        except ContractError as error:
            return Failure(error.slug if SLUG in self.carries else "", error.code, error.message)
        return canonical(result, self.reply(host, verb), text=text)

    def same_result(
        self, client: Client, bridge: BridgeClient, host: TestHost, verb: str, arguments: Mapping[str, Any]
    ) -> Any:
        """The result of a query, once it was shown to be what the bridge gives."""
        theirs = self.outcome(client, host, verb, arguments, text=self.text)
        assert theirs == self.outcome(bridge, host, verb, arguments)
        return theirs

    def slugs(self, slug: str) -> tuple[str, ...]:
        """Return the slug that a client receives: empty if the protocol carries none."""
        return (slug,) if SLUG in self.carries else ("",)

    @staticmethod
    def reply(host: TestHost, verb: str) -> Any:
        """Return the type of a verb's reply."""
        return host.bridge.verbs[verb].reply

    def ended(self, client: Client, host: TestHost, task_id: dict[str, str]) -> dict[str, Any]:
        """Wait for the end of a task, and return its status."""
        status: dict[str, Any] = {}

        def over() -> bool:
            status.update(self.outcome(client, host, "Task.getStatus", task_id, text=self.text))
            return bool(status["taskState"] == "finished")

        until(over, PATIENCE)
        return status


def queue(host: TestHost, lamp: str) -> list[Any]:
    """Return the calls that run or wait on one lamp."""
    return [call for call in host.call("Host.getQueues") if call.lane.endswith(lamp)]
