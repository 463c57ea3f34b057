"""The console: the message bus for engines.

::

    from vdsm_qmf.console import Cluster

    with Cluster("amqps://engine@broker", password=secret) as cluster:
        cluster.wait_for(hosts=3)
        print(cluster.call_all("Host.getStats"))
"""

from vdsm_bridge.transport import CallRefused, TransportError, Unreachable
from vdsm_qmf.bus.security import Security
from vdsm_qmf.console.cluster import Cluster
from vdsm_qmf.console.model import ClusterEvent, Host, HostChange, Result
from vdsm_qmf.console.stream import EventStream
from vdsm_qmf.errors import BadBroker

__all__ = [
    "BadBroker",
    "CallRefused",
    "Cluster",
    "ClusterEvent",
    "EventStream",
    "Host",
    "HostChange",
    "Result",
    "Security",
    "TransportError",
    "Unreachable",
]
