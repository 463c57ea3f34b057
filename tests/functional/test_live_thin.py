"""Volumes on block devices grow before the guest has filled them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.lab import BootFiles, LabHost
from tests.functional.live import MIB, LiveSite, live_site
from tests.functional.loop_storage import LoopStorage
from vdsm_bridge.testing.polling import until

pytestmark = [pytest.mark.functional, pytest.mark.slow]

#: Sizes: of a step, and the free space in percent of it below which the volume is extended.
VIRT = """\
[plugin.virt]
image_folders = ["/"]
volume_chunk = 128
volume_free = 75
"""


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[LoopStorage]:
    """Storage on loop devices."""
    storage, stop = LoopStorage(tmp_path / "storage"), threading.Event()
    server = threading.Thread(target=storage.serve, args=(stop,))
    server.start()
    yield storage
    stop.set()
    server.join()
    storage.close()


@pytest.fixture
def site(lab_host: LabHost, boot: BootFiles, tmp_path: Path, storage: LoopStorage) -> Iterator[LiveSite]:
    """A daemon with that storage."""
    plugin = (
        "from tests.functional.loop_storage import LoopStorage\n"
        f"storage = LoopStorage(Path({str(storage.root)!r}))\n"
    )
    with live_site(lab_host, boot, tmp_path, storage=storage, plugin=plugin, virt=VIRT) as site:
        yield site


def test_a_thin_volume(site: LiveSite, storage: LoopStorage) -> None:
    """It grows ahead of a guest that writes as fast as it can, which is never paused. If storage does not
    answer in time, the guest is paused, and goes on by itself as soon as there is room."""
    system = storage.add(16 * MIB, "cow")
    volume = storage.attach(512 * MIB, 128 * MIB)
    vm_id = site.create("thin", system, volume, agent=True)
    agent = site.agent(vm_id)

    def size() -> int:
        return storage.path(volume).stat().st_size

    def fill(begin: int, count: int) -> str:
        return f"dd if=/dev/zero of=/dev/vdb bs=1M seek={begin} count={count} oflag=direct conv=notrunc 2>&1"

    agent.shell(fill(0, 200), within=120)
    until(lambda: size() == 384 * MIB, 60.0, every=0.1, detail=lambda: (size(), site.daemon.log()))
    assert "goes on: its disks have room" not in site.daemon.log()
    assert site.stats(vm_id)["status"] in ("Up", "Powering up")

    with storage.holding("extend"):
        output = agent.start("/bin/sh", "-c", f"export PATH=/bin; {fill(200, 250)}")
        until(lambda: site.stats(vm_id)["status"] == "Paused", 120.0, every=0.1, detail=site.daemon.log)
        assert site.stats(vm_id)["pauseCode"] == "ENOSPC"
        assert size() == 384 * MIB
    site.wait(vm_id, "Up", "Powering up")
    until(lambda: output() is not None, 120.0, every=0.1, detail=site.daemon.log)
    # The most that it may become: a tenth beyond what the guest sees.
    assert size() <= 564 * MIB
    assert site.storage.prepared(vm_id) == {system.volume_id, volume.volume_id}
