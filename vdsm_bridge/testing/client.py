"""The clients of the contract suite: the bridge itself, or a client of a binding."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from vdsm_bridge.call.access import Credentials
from vdsm_bridge.call.bridge import Bridge
from vdsm_bridge.call.context import Context
from vdsm_core import types
from vdsm_core.errors import VdsmError

__all__ = ["BridgeClient", "Client", "ContractError"]


class ContractError(Exception):
    """A verb was refused or failed, as reported by the client of a binding.

    `slug` is empty if the protocol carries none.
    """

    def __init__(self, slug: str, code: int, message: str) -> None:
        super().__init__(slug, code, message)
        self.slug = slug
        self.code = code
        self.message = message


class Client(Protocol):
    """The client of a binding that its contract test provides. One thread uses it at a time."""

    def call(
        self,
        verb: str,
        arguments: Mapping[str, Any],
        *,
        token: str = "",
        request_id: str = "",
        timeout: float | None = None,
    ) -> Any:
        """Call a verb by its full name, with plain arguments by wire name; the decoded result, None for none.

        :param token: a bearer token; without one the caller is an unknown on loopback, or the peer
        :param timeout: seconds; sent to the host as the call's deadline
        :raises ContractError: every refusal and failure
        """

    def verbs(self) -> set[str]:
        """The full name of each verb that the binding offers, by the means that its protocol has."""

    def close(self) -> None:
        """Free everything."""


class EventReader(Protocol):
    """A stream of events that a binding has by its own means, beside the verbs of `Events`."""

    def take(self, count: int) -> Sequence[Any]:
        """The next so many events as plain data, states of a snapshot first; waits for them."""

    def close(self) -> None:
        """End the stream."""


class BridgeClient:
    """Calls the bridge as a binding does: the yardstick that clients of bindings are held against.

    :param text: convert arguments as for a text protocol
    """

    #: What its calls give as their binding.
    binding: ClassVar[str] = "contract"

    def __init__(self, bridge: Bridge, *, text: bool = False) -> None:
        self._bridge = bridge
        self._text = text

    def call(
        self,
        verb: str,
        arguments: Mapping[str, Any],
        *,
        token: str = "",
        request_id: str = "",
        timeout: float | None = None,
    ) -> Any:
        """See `Client.call`."""
        try:
            context = Context(
                identity=self._bridge.identify(Credentials(address="127.0.0.1", token=token)),
                binding=self.binding,
                address="127.0.0.1",
                request_id=request_id,
                deadline=None if timeout is None else time.monotonic() + timeout,
            )
            return types.builtins(self._bridge.call(verb, arguments, context, text=self._text))
        except VdsmError as error:
            raise ContractError(error.slug, error.code, str(error)) from None

    def verbs(self) -> set[str]:
        """See `Client.verbs`."""
        return set(self._bridge.verbs)

    def close(self) -> None:
        """Nothing to free."""
