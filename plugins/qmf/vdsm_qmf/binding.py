"""The binding: an agent, if a broker is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vdsm_bridge import Binding, Bridge, Health, Options
from vdsm_qmf.errors import BadBroker
from vdsm_qmf.options import QmfOptions

if TYPE_CHECKING:
    from vdsm_qmf.agent import Agent
    from vdsm_qmf.bus import Loop

__all__ = ["BadBroker", "QmfBinding"]


class QmfBinding(Binding):
    """The host as a QMFv2 agent on an AMQP 1.0 message bus."""

    Config: ClassVar[type[Options]] = QmfOptions

    def __init__(self, bridge: Bridge, config: QmfOptions) -> None:
        super().__init__(bridge, config)
        self._loop: Loop | None = None
        self._agent: Agent | None = None

    @property
    def agent(self) -> Agent | None:
        """The agent, while it is running."""
        return self._agent

    def start(self) -> None:
        """Begin to connect, and return without waiting for a broker.

        :raises BadBroker: a broker's URL, or the credentials for it, cannot be used
        """
        options: QmfOptions = self.config
        if not options.brokers:
            return
        # Only hosts on a bus load Proton and the agent.
        from vdsm_qmf.assembly import start_agent  # noqa: PLC0415 - 3 MiB of memory

        self._loop, self._agent = start_agent(self.bridge, options)

    def stop(self, grace: float) -> None:
        """Wait for running calls, send their answers, and disconnect."""
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.stop(grace)
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.stop()

    @property
    def address(self) -> tuple[str, ...]:
        """The URL of the broker with the agent's name as its path; empty without a broker."""
        if self._agent is None:
            return ()
        return (f"{self._agent.bus.broker}/{self._agent.name}",)

    def health(self) -> Health:
        """Return "degraded" with the reason while no broker can be reached."""
        if self._agent is None or self._agent.bus.is_up:
            return Health()
        return Health("degraded", self._agent.bus.trouble)
