"""The ids of disks are stored also for a machine whose domain the daemon has not read yet."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vdsm_core.errors import HypervisorUnavailable
from vdsm_core.volumes import DiskId
from vdsm_virt.domain.metadata import Metadata
from vdsm_virt.jobs.drives import Drives

IDS = DiskId(domain_id="d", image_id="i", volume_id="v")


class Mirror:
    """Reads whether a domain is of this daemon, and keeps its metadata."""

    def __init__(self, ours):
        self.ours = ours
        self.metadata = Metadata()

    def refresh(self, _vm_id):
        if self.ours is None:
            raise HypervisorUnavailable(uri="x", reason="it restarts")
        return SimpleNamespace(ours=self.ours)

    def change_metadata(self, _vm_id, change):
        self.metadata = change(self.metadata)


def _drives(mirror):
    inventory = SimpleNamespace(find=lambda _vm_id: SimpleNamespace(ours=None))
    return Drives(SimpleNamespace(inventory=inventory, mirror=mirror))


@pytest.mark.parametrize("ours", [True, False])
def test_a_machine_that_is_not_read_yet(ours):
    """As in the first moments of a daemon that completes a snapshot; machines of others get no ids."""
    mirror = Mirror(ours)
    _drives(mirror).set_ids("a", {"vda": IDS})
    assert mirror.metadata.devices == ({"vda": IDS.members()} if ours else {})


def test_libvirt_is_away():
    """The caller repeats it."""
    with pytest.raises(HypervisorUnavailable):
        _drives(Mirror(None)).set_ids("a", {"vda": IDS})
