"""Definitions that are read again although no event reported a change."""

from __future__ import annotations

import msgspec
import pytest

from vdsm_bridge.testing.polling import until
from vdsm_core.hypervisor import DomainSample
from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.domain.read.definition import Details
from vdsm_virt.machine.drift import differs

DETAILS = Details(
    definition=VmDefinition(vm_id="a", vm_name="a", status="Up"),
    metadata=None,
    vcpus=2,
    macs={"vnet0": "52:54:00:00:00:01"},
)
SAME = {"vcpu.current": 2, "net.count": 1, "net.0.name": "vnet0"}


def sample(**stats: object) -> DomainSample:
    """A sample of one domain."""
    return DomainSample(
        uuid="a", name="a", state="running", active=True, stats=dict(stats), taken_at=0.0, monotonic=0.0
    )


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        (SAME, False),
        ({}, False),
        ({**SAME, "vcpu.current": 1}, True),
        ({**SAME, "net.count": 0}, True),
        ({**SAME, "net.count": 2, "net.1.name": "vnet1"}, True),
    ],
)
def test_differences(stats, expected):
    """Other processors, other NICs; what a sample does not have is no difference."""
    assert differs(sample(**stats), DETAILS) is expected


def test_a_machine_that_does_not_respond():
    """Its values are old."""
    old = msgspec.structs.replace(sample(**{**SAME, "vcpu.current": 1}), responding=False)
    assert differs(old, DETAILS) is False


def test_what_no_event_reports(make_machines):
    """Processors that another client has switched on are shown."""
    vms = make_machines(config={"hypervisor": {"sample_interval": 0.1}})
    vm_id = vms.create(smp=1, maxVCpus=4)
    assert vms.call("VM.getInfo", vmID=vm_id).smp == 1
    vms.hypervisor.devices.set_vcpus(vm_id, 3)
    until(lambda: vms.call("VM.getInfo", vmID=vm_id).smp == 3, 5.0)
