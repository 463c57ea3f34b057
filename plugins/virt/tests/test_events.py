"""Each kind of libvirt's events reaches subscribers, typed; none is invented, none arrives too early."""

from __future__ import annotations

import threading
import typing

import libvirt
import pytest

from vdsm_bridge.testing.blocking import BlockingDriver
from vdsm_bridge.testing.polling import until
from vdsm_core import hypervisor as hv
from vdsm_core.events import event_types
from vdsm_core.hypervisor.domains.events import CONVERTERS
from vdsm_virt.api.events import Reconciled, VmEvent, VmGone, VmMigrationFailed, VmStatusChanged
from vdsm_virt.machine import translate

ID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
LOCAL = {"family": 0, "node": "127.0.0.1", "service": "5900"}
REMOTE = {"family": 2, "node": None, "service": "/run/viewer"}
ENDS = {
    "local": {"family": "ipv4", "node": "127.0.0.1", "service": "5900"},
    "remote": {"family": "unix", "node": "", "service": "/run/viewer"},
}
NAME = "VIR_DOMAIN_EVENT_ID_"

#: What libvirt's Python binding hands to a callback, and the events that must follow.
KINDS = [
    ("REBOOT", (), [("VM_reboot", {})]),
    ("RTC_CHANGE", (-3600,), [("VM_rtc", {"offset": -3600})]),
    ("WATCHDOG", (libvirt.VIR_DOMAIN_EVENT_WATCHDOG_RESET,), [("VM_watchdog", {"action": "reset"})]),
    (
        "IO_ERROR_REASON",
        ("/dev/x", "virtio-disk0", libvirt.VIR_DOMAIN_EVENT_IO_ERROR_PAUSE, "enospc"),
        [
            (
                "VM_io_error",
                {"path": "/dev/x", "alias": "virtio-disk0", "action": "pause", "reason": "enospc"},
            )
        ],
    ),
    ("CONTROL_ERROR", (), [("VM_control_error", {})]),
    (
        "GRAPHICS",
        (libvirt.VIR_DOMAIN_EVENT_GRAPHICS_INITIALIZE, LOCAL, REMOTE, "tls", [("x509dname", "CN=x")]),
        [
            (
                "VM_graphics",
                {
                    "phase": "initialize",
                    "authScheme": "tls",
                    "subject": [{"type": "x509dname", "name": "CN=x"}],
                    **ENDS,
                },
            )
        ],
    ),
    (
        "BLOCK_JOB_2",
        ("vda", libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT, libvirt.VIR_DOMAIN_BLOCK_JOB_READY),
        [("VM_block_job", {"disk": "vda", "type": "active-commit", "status": "ready"})],
    ),
    (
        "BLOCK_THRESHOLD",
        ("vda[1]", None, 2**40, 512),
        [("VM_block_threshold", {"dev": "vda[1]", "path": "", "threshold": 2**40, "excess": 512})],
    ),
    (
        "DISK_CHANGE",
        ("/a.iso", None, "ide0-0-0", libvirt.VIR_DOMAIN_EVENT_DISK_DROP_MISSING_ON_START),
        [
            (
                "VM_disk_change",
                {
                    "oldPath": "/a.iso",
                    "newPath": "",
                    "alias": "ide0-0-0",
                    "reason": "drop-missing-on-start",
                },
            )
        ],
    ),
    (
        "TRAY_CHANGE",
        ("ide0-0-0", libvirt.VIR_DOMAIN_EVENT_TRAY_CHANGE_OPEN),
        [("VM_tray", {"alias": "ide0-0-0", "tray": "open"})],
    ),
    ("DEVICE_ADDED", ("net1",), [("VM_device_added", {"alias": "net1"})]),
    ("DEVICE_REMOVED", ("net1",), [("VM_device_removed", {"alias": "net1"})]),
    ("DEVICE_REMOVAL_FAILED", ("net1",), [("VM_device_removal_failed", {"alias": "net1"})]),
    (
        "AGENT_LIFECYCLE",
        (
            libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED,
            libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_REASON_CHANNEL,
        ),
        [("VM_agent", {"state": "connected", "reason": "channel"})],
    ),
    ("BALLOON_CHANGE", (1048576,), [("VM_balloon", {"actual": 1048576})]),
    (
        "MEMORY_DEVICE_SIZE_CHANGE",
        ("virtiomem0", 2048),
        [("VM_memory_device", {"alias": "virtiomem0", "size": 2048})],
    ),
    ("MIGRATION_ITERATION", (2,), [("VM_migration_iteration", {"iteration": 2})]),
    (
        "JOB_COMPLETED",
        (
            {
                "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT,
                "success": True,
                "downtime": 31,
                "time_elapsed": 2800,
                "data_total": 1000,
                "data_processed": 900,
                "compression_pages": 1,
            },
        ),
        [
            ("VM_migration_status", {"progress": 100, "postcopy": False, "downtime": 31}),
            (
                "VM_job_completed",
                {
                    "job": "migration-out",
                    "success": True,
                    "downtime": 31,
                    "timeElapsed": 2800,
                    "dataTotal": 1000,
                    "dataProcessed": 900,
                },
            ),
        ],
    ),
    (
        "MEMORY_FAILURE",
        (
            libvirt.VIR_DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_GUEST,
            libvirt.VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_INJECT,
            libvirt.VIR_DOMAIN_MEMORY_FAILURE_RECURSIVE,
        ),
        [
            (
                "VM_memory_failure",
                {"recipient": "guest", "action": "inject", "actionRequired": False, "recursive": True},
            )
        ],
    ),
]
#: Those that are not published: the status is the life cycle; the others are changes of settings.
NOT_TOLD = {"LIFECYCLE", "TUNABLE", "METADATA_CHANGE"}


def announce(vms, *events):
    """Inject events that the test driver does not send."""
    for event in events:
        vms.hypervisor._dispatcher.announce(event)
    done = threading.Event()
    forget = vms.hypervisor.events.listen(
        lambda event: done.set() if isinstance(event, hv.DomainTunable) else None
    )
    vms.hypervisor._dispatcher.announce(hv.DomainTunable(ID, "test", {}))
    assert done.wait(5)
    forget()


def convert(kind, *arguments):
    """What the package makes of a callback's arguments."""
    return CONVERTERS[getattr(libvirt, NAME + kind)](ID, "test", *arguments)


@pytest.mark.parametrize(("kind", "arguments", "expected"), KINDS, ids=[kind[0] for kind in KINDS])
def test_each_kind_of_event(vms, kind, arguments, expected):
    """What libvirt passes to its callback reaches a subscriber, in VDSM's spelling."""
    subscription = vms.listen("|virt|*|*")
    announce(vms, convert(kind, *arguments))
    vms.host.host.runtime.events.flush()
    found = [event for event in subscription.next(0) if "VM_status" not in event.id]
    subscription.close()
    assert [(event.id, event.params) for event in found] == [
        (f"|virt|{operation}|{ID}", {"vmId": ID, "vmName": "test", **params})
        for operation, params in expected
    ]


def test_every_kind_is_tested():
    """libvirt's kinds of events are all here, and so are those of this package."""
    kinds = {kind for kind, *_ in KINDS}
    assert {getattr(libvirt, NAME + kind) for kind in kinds | NOT_TOLD} == set(CONVERTERS)
    published = {operation for _, _, expected in KINDS for operation, _ in expected}
    ours = {cls.operation for cls in event_types(VmEvent)}
    assert ours - published == {VmStatusChanged.operation, VmGone.operation, VmMigrationFailed.operation}
    assert set(translate._CONVERTERS) <= set(typing.get_args(hv.HypervisorEvent))


@pytest.mark.parametrize(
    ("stats", "operations"),
    [
        ({}, ["VM_job_completed"]),
        ({"operation": libvirt.VIR_DOMAIN_JOB_OPERATION_SAVE, "success": True}, ["VM_job_completed"]),
        (
            {"operation": libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, "success": False, "errmsg": "no"},
            ["VM_job_completed"],
        ),
    ],
    ids=["nothing reported", "a save", "a migration that failed"],
)
def test_a_job_that_is_no_migration_done(stats, operations):
    """Only a migration that succeeded is at 100 percent; what libvirt does not report is left out."""
    published = translate.events_of(convert("JOB_COMPLETED", stats))
    assert [event.operation for event in published] == operations


def test_a_disk_error_is_told_before_the_pause_that_follows(vms):
    """The cause precedes its effect."""
    vm_id = vms.create()
    subscription = vms.listen(f"|virt|*|{vm_id}")
    announce(
        vms,
        hv.DomainIOError(vm_id, "a", "/dev/x", "vda", "pause", "enospc"),
        hv.DomainLifecycle(vm_id, "a", "suspended", "ioerror"),
    )
    vms.host.host.runtime.events.flush()
    found = [(event.id.split("|")[2], event.params.get("pauseCode")) for event in subscription.next(0)]
    subscription.close()
    assert found == [("VM_io_error", None), ("VM_status", "ENOSPC")]


def test_a_removed_machine_is_reported(vms):
    """Down first, then gone; and a new listener does not see it."""
    vm_id = vms.create(vmName="b")
    subscription = vms.listen(f"|virt|*|{vm_id}")
    vms.call("VM.destroy", vmID=vm_id)
    vms.host.host.runtime.events.flush()
    found = [(event.id.split("|")[2], event.params.get("status")) for event in subscription.next(0)]
    subscription.close()
    assert found == [("VM_status", "Down"), ("VM_gone", None)]
    states, fresh = vms.host.bridge.snapshot(f"|virt|*|{vm_id}")
    fresh.close()
    assert states == []


def view(subscription, seen, events):
    """Keep a subscriber's picture of the machines: ids to statuses."""
    for event in events:
        if event.id.startswith("|virt|VM_status|"):
            seen[event.params["vmId"]] = event.params["status"]
        elif event.id.startswith("|virt|VM_gone|"):
            seen.pop(event.params["vmId"], None)
    return seen


def test_a_picture_from_a_snapshot_stays_true(vms):
    """A client that begins with a snapshot, amid many changes, ends with the states of the list."""
    stop = threading.Event()

    def storm():
        number = 0
        while not stop.is_set():
            number += 1
            vm_id = vms.create(vmName=f"storm{number}")
            vms.call("VM.pause", vmID=vm_id)
            if number % 3:
                vms.call("VM.destroy", vmID=vm_id)

    thread = threading.Thread(target=storm)
    thread.start()
    pictures = []
    try:
        for _ in range(12):
            states, subscription = vms.host.bridge.snapshot("|virt")
            pictures.append((subscription, view(subscription, {}, states)))
            stop.wait(0.03)
    finally:
        stop.set()
        thread.join()
    vms.host.host.runtime.events.flush()
    truth = {vm.vm_id: vm.status for vm in vms.call("Host.getVMList")}
    assert len(truth) > 3
    for subscription, seen in pictures:
        assert view(subscription, seen, subscription.next(0, max_events=100_000)) == truth
        subscription.close()


def test_reconciliation_says_what_changed(make_machines):
    """After a lost connection: which machines are new, changed and gone; their statuses precede it."""
    options = {"hypervisor": {"reconnect_first": 0.05, "keepalive": 1}}
    with BlockingDriver() as driver:
        vms = make_machines(connect=driver.connect, config=options)
        same, ended, undefined = (vms.create(vmName=name) for name in ("same", "ended", "undefined"))
        vms.call("VM.shutdown", vmID=undefined)
        vms.wait(undefined, lambda stats: stats.status == "Down")
        until(lambda: "exit" in vms.call("Host.dumpxmls")[undefined])
        subscription = vms.listen("|virt")
        other = make_machines(connect=BlockingDriver().connect)
        driver.break_connections(refuse=True)
        until(lambda: not vms.hypervisor.connected)
        other.hypervisor.domains.destroy(ended)
        other.hypervisor.definitions.undefine(undefined)
        new = other.create(vmName="new")
        driver.accept()
        found = []
        until(lambda: found.extend(subscription.next(0.1)) or _reconciled(found), 10)
        subscription.close()
    assert _reconciled(found) == [
        {"cause": "connection back", "added": [new], "changed": [ended], "gone": [undefined]}
    ]
    seen = {(event.id.split("|")[2], event.params.get("vmId")) for event in found[:-1]}
    assert {("VM_status", new), ("VM_status", ended), ("VM_gone", undefined)} <= seen
    assert same not in {vm_id for _, vm_id in seen}


def _reconciled(events):
    return [event.params for event in events if event.id == f"|virt|{Reconciled.operation}|no_id"]


def test_lost_events_are_reconciled(vms):
    """When this daemon was too slow for libvirt, it publishes that, and compares."""
    subscription = vms.listen("|virt|reconciled|*")
    announce(vms, hv.EventsLost(7))
    (published,) = subscription.next(timeout=10)
    assert published.params == {"cause": "events lost", "added": [], "changed": [], "gone": []}
    subscription.close()
