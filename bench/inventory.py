"""All machines' statistics and the list of machines, at many sizes, against libvirt's raw bulk call.

The yardstick is one `getAllDomainStats` of the same machines, in the process that serves; the client is a
process of its own. The test driver has states and processor time only, no disks and NICs.
"""

from __future__ import annotations

import uuid
import xmlrpc.client

import libvirt

from bench.load import Load, generate, http_get, http_post
from bench.measure import UNLIMITED, Row, per_call
from vdsm_bridge import Context
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until

SIZES = (10, 100, 1_000, 10_000)
_DOMAIN = """<domain type='test'><name>bench-{number}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory>
<vcpu>1</vcpu><os><type arch='x86_64'>hvm</type></os></domain>"""
_FLAGS = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT


def run(sizes: tuple[int, ...] = SIZES) -> list[Row]:
    """Time and bytes at each size, in the bridge and over each binding."""
    rows: list[Row] = []
    connection = libvirt.open("test:///default")
    config = {
        "hypervisor": {"sample_interval": 2.0},
        "limits": UNLIMITED,
        "plugin": {"xmlrpc": {"port": 0}, "rest": {"port": 0}},
    }
    with TestHost(installed=True, config=config) as host:
        ports = {
            plugin.name: int(plugin.address[0].rstrip("/").rsplit(":", 1)[1].split("/")[0])
            for plugin in host.host.plugins()
            if plugin.address
        }
        made = 1
        for size in sizes:
            while made < size:
                xml = _DOMAIN.format(number=made, uuid=uuid.UUID(int=made))
                connection.createXML(xml, 0)
                made += 1
            until(lambda size=size: _listed(host) >= size, 120.0)
            rows += _measure(host, ports, connection, size)
    connection.close()
    return rows


def _listed(host: TestHost) -> int:
    host.host.runtime.hypervisor.stats.refresh(30.0)
    return len(host.call("Host.getVMList"))


def _measure(host: TestHost, ports: dict[str, int], connection: libvirt.virConnect, size: int) -> list[Row]:
    raw = per_call(lambda: connection.getAllDomainStats(0, _FLAGS))
    context = Context()
    rows = []
    for verb, old, path in (
        ("Host.getAllVmStats", "getAllVmStats", "/api/host/all-vm-stats"),
        ("Host.getVMList", "list", "/api/host/vm-list"),
    ):
        timings: list[tuple[str, float, int]] = [
            ("bridge", per_call(lambda verb=verb: host.bridge.call(verb, {}, context)), 0)
        ]
        requests = {
            "xmlrpc": http_post("/RPC2", xmlrpc.client.dumps((), old).encode(), "text/xml"),
            "rest": http_get(path),
        }
        for name, request in requests.items():
            result = generate(Load(port=ports[name], request=request, clients=1, seconds=2.0, most=500))
            timings.append((name, result.p50, result.bytes))
        rows += [
            Row(
                bench=verb,
                case=f"{size:,} machines, {where}",
                unit="ms",
                value=seconds * 1e3,
                yardstick=raw * 1e3,
                yardstick_name="raw getAllDomainStats",
                note=f"{size_in_bytes:,} bytes" if size_in_bytes else "",
            )
            for where, seconds, size_in_bytes in timings
        ]
    return rows
