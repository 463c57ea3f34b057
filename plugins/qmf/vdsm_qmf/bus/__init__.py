"""The message bus: connections to brokers that are renewed, and the queue of outgoing messages."""

from vdsm_qmf.bus.bus import Bus, Listener
from vdsm_qmf.bus.loop import Loop, Timer
from vdsm_qmf.bus.security import Broker, Security, parse_url, read_password
from vdsm_qmf.bus.settings import BusSettings, Subscription
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
