"""Builds an agent and its loop from the options. Importing this loads Proton."""

from __future__ import annotations

from vdsm_bridge import Bridge
from vdsm_qmf.agent import Agent, agent_name, next_epoch
from vdsm_qmf.bus import Broker, BusSettings, Loop, Security, parse_url, read_password
from vdsm_qmf.bus.security import choose_mechanisms
from vdsm_qmf.errors import BadBroker
from vdsm_qmf.options import QmfOptions


def start_agent(bridge: Bridge, options: QmfOptions) -> tuple[Loop, Agent]:
    """Start a loop and an agent on it, which begins to connect.

    :raises BadBroker: a broker's URL, or the credentials for it, cannot be used
    """
    settings = bus_settings(options)
    loop = Loop("qmf bus")
    loop.start()
    try:
        agent = Agent(
            bridge,
            options,
            settings,
            loop,
            name=agent_name(options, bridge),
            epoch=next_epoch(options.epoch_file),
        )
        agent.start()
    except BaseException:
        loop.stop()
        raise
    return loop, agent


def bus_settings(options: QmfOptions) -> BusSettings:
    """Return the settings of the bus that the options describe.

    :raises BadBroker: as `start_agent`
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
        reconnect_max=options.reconnect_most,
    )


def _broker(url: str, security: Security) -> Broker:
    broker, password, _ = parse_url(url)
    if password:
        raise BadBroker(
            url=str(broker),
            reason="a password in a URL is visible to others; put it into a file and set 'password_file'",
        )
    choose_mechanisms(broker, security)
    return broker
