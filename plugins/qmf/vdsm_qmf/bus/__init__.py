"""The message bus: connections to brokers, made again and again, and what waits to be sent."""

from vdsm_qmf.bus.bus import Bus, BusSettings, Listener, Subscription
from vdsm_qmf.bus.loop import Loop, Timer
from vdsm_qmf.bus.security import BadBroker, Broker, Security, parse_url, read_password

__all__ = [
    "BadBroker",
    "Broker",
    "Bus",
    "BusSettings",
    "Listener",
    "Loop",
    "Security",
    "Subscription",
    "Timer",
    "parse_url",
    "read_password",
]
