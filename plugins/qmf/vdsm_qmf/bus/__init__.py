"""The message bus: connections to brokers, made again and again, and what waits to be sent."""

from vdsm_qmf.bus.bus import Bus, BusSettings, Listener, Subscription
from vdsm_qmf.bus.loop import Loop, Timer
from vdsm_qmf.bus.security import Broker, Security, parse_url, read_password
from vdsm_qmf.errors import BadBroker

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
