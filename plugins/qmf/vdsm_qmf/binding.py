"""The binding: an agent, where a broker is configured."""

from __future__ import annotations

from typing import ClassVar

from vdsm_bridge import Binding, Bridge, Health, Options
from vdsm_qmf.agent import Agent, agent_name, next_epoch
from vdsm_qmf.bus import Broker, BusSettings, Loop, Security, parse_url, read_password
from vdsm_qmf.bus.security import BadBroker, choose_mechanisms
from vdsm_qmf.options import QmfOptions


class QmfBinding(Binding):
    """The host as a QMFv2 agent on an AMQP 1.0 message bus."""

    Config: ClassVar[type[Options]] = QmfOptions

    def __init__(self, bridge: Bridge, config: QmfOptions) -> None:
        super().__init__(bridge, config)
        self._loop: Loop | None = None
        self._agent: Agent | None = None

    @property
    def agent(self) -> Agent | None:
        """The agent, while it runs."""
        return self._agent

    def start(self) -> None:
        """Begin to connect, and return: a broker that is away now may come later.

        :raises BadBroker: a broker's URL cannot be used, or there is nothing to prove oneself to it with
        """
        options: QmfOptions = self.config
        if not options.brokers:
            return
        settings = bus_settings(options)
        self._loop = Loop("qmf bus")
        self._loop.start()
        self._agent = Agent(
            self.bridge,
            options,
            settings,
            self._loop,
            name=agent_name(options, self.bridge),
            epoch=next_epoch(options.epoch_file),
        )
        self._agent.start()

    def stop(self, grace: float) -> None:
        """Answer what was asked, and leave the bus."""
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.stop(grace)
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.stop()

    @property
    def address(self) -> tuple[str, ...]:
        """The broker, and below it the agent's name; empty without a broker."""
        if self._agent is None:
            return ()
        return (f"{self._agent.bus.broker}/{self._agent.name}",)

    def health(self) -> Health:
        """Degraded while no broker can be reached."""
        if self._agent is None or self._agent.bus.is_up:
            return Health()
        return Health("degraded", self._agent.bus.trouble)


def bus_settings(options: QmfOptions) -> BusSettings:
    """What the options say of the bus.

    :raises BadBroker: see `QmfBinding.start`
    """
    security = Security(
        user=options.user,
        password=read_password(options.password_file),
        mechanisms=options.mechanisms,
        anonymous=options.anonymous,
        ca_file=options.ca_file,
        cert_file=options.cert_file,
        key_file=options.key_file,
    )
    return BusSettings(
        brokers=tuple(_broker(url, security) for url in options.brokers),
        security=security,
        dialect=options.dialect,
        outgoing=options.outgoing,
        max_message=options.max_message,
        idle_timeout=options.idle_timeout,
        reconnect_first=options.reconnect_first,
        reconnect_most=options.reconnect_most,
    )


def _broker(url: str, security: Security) -> Broker:
    broker, password, _ = parse_url(url)
    if password:
        raise BadBroker(url=str(broker), reason="the password belongs into a file: option 'password_file'")
    choose_mechanisms(broker, security)
    return broker
