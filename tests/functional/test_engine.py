"""The example engine migrates a running guest between two hosts that it has discovered on the bus."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.functional.daemon import CONFIG, Daemon
from tests.functional.lab import ADDRESSES, BootFiles, LabPair
from vdsm_bridge.testing.polling import until

pytest.importorskip("vdsm_qmf")
small_engine = pytest.importorskip("small_engine")

from vdsm_qmf.console import Cluster  # noqa: E402 - only where the plugin is
from vdsm_qmf.testing import PASSWORD, USER, RabbitMQ  # noqa: E402

pytestmark = [pytest.mark.functional, pytest.mark.slow]

BOOT = 60.0  # seconds that a guest may take under TCG on a busy machine
NAMES = ("here", "there")
MORE = """\
[access.bus_users]
{user} = "admin"
[plugin.virt]
migration_uri = "qemu+tcp://{{{{host}}}}/system"
shared_folders = ["{shared}"]
[plugin.qmf]
brokers = ["{url}"]
password_file = "{password}"
instance = "{name}"
heartbeat = 1.0
"""


@pytest.fixture
def broker() -> Iterator[RabbitMQ]:
    with tempfile.TemporaryDirectory(prefix="vdsm-engine-") as folder, RabbitMQ(Path(folder)) as broker:
        yield broker


@pytest.fixture
def cluster(lab_pair: LabPair, broker: RabbitMQ, tmp_path: Path) -> Iterator[Cluster]:
    """Two hosts with real guests on one bus."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    shared = lab_pair.first.root / "disks"
    with ExitStack() as stack:
        for name, host in zip(NAMES, (lab_pair.first, lab_pair.second), strict=True):
            (tmp_path / name).mkdir()
            more = MORE.format(user=USER, shared=shared, url=broker.url, password=password, name=name)
            stack.enter_context(Daemon(tmp_path / name, host.uri, CONFIG + more))
        cluster = stack.enter_context(Cluster(broker.url, password=PASSWORD))
        cluster.wait_for(*NAMES, timeout=60.0)
        yield cluster


def test_the_engine_moves_a_guest(cluster: Cluster, lab_pair: LabPair, boot: BootFiles) -> None:
    """Placed on one host, moved to the other while it runs, and known there only; and back again."""
    engine = small_engine.Engine(cluster, addresses=dict(zip(NAMES, ADDRESSES, strict=True)))
    hosts = dict(zip(NAMES, (lab_pair.first, lab_pair.second), strict=True))
    vm_id = "5a1c0000-0000-4000-8000-000000000001"
    disk = {"type": "disk", "device": "disk", "iface": "virtio", "format": "raw"}
    placed = engine.place(
        {
            "vmId": vm_id,
            "vmName": "traveller",
            "memSize": 128,
            "kvmEnable": "false",
            "emulatedMachine": "q35",
            "kernel": str(boot.kernel),
            "initrd": str(boot.initrd),
            "kernelArgs": boot.cmdline,
            "devices": [{**disk, "path": str(lab_pair.first.disk(vm_id))}],
        }
    )

    def written() -> int:
        return int(hosts[placed.host].statistics(vm_id).get("block.0.wr.bytes", 0))

    until(lambda: written() > 0, BOOT, every=0.1, what="the guest to boot")
    for _ in range(2):
        source = placed.host
        target = next(name for name in NAMES if name != source)
        placed = engine.migrate("traveller", target)
        assert (placed.host, placed.status) == (target, "Up")
        assert vm_id in hosts[target].virsh("list", "--uuid", "--state-running")
        assert vm_id not in hosts[source].virsh("list", "--all", "--uuid")
        before = written()
        until(lambda before=before: written() > before, every=0.1, what="the guest to go on")
        assert [one.host for one in engine.inventory().find("traveller")] == [target]
    cluster.call(placed.host, "VM.destroy", {"vmID": vm_id})
