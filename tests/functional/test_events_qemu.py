"""What a real QEMU does reaches subscribers: the kinds of events that can be made to happen here."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.daemon import Daemon
from tests.functional.lab import UP, BootFiles, Guest, LabHost
from tests.functional.subscribers import RestStream
from vdsm_bridge.testing.polling import until

pytestmark = [pytest.mark.functional, pytest.mark.slow]


class Site:
    """A guest with a display, and a daemon with a subscriber."""

    def __init__(self, host: LabHost, guest: Guest, stream: RestStream) -> None:
        self.host = host
        self.guest = guest
        self.stream = stream

    @property
    def display(self) -> Path:
        """The socket of its display."""
        return display(self.host, self.guest)

    def virsh(self, command: str, *arguments: str) -> None:
        """Do something with the guest past the daemon."""
        self.host.virsh(command, self.guest.uuid, *arguments)

    def expect(self, operation: str, **params: Any) -> None:
        """Wait for an event with at least these parameters."""
        name = f"|virt|{operation}|{self.guest.uuid}"
        wanted = params.items()
        until(
            lambda: any(e["id"] == name and wanted <= e["params"].items() for e in list(self.stream.seen)),
            30.0,
            every=0.1,
            what=f"{operation} with {params}",
            detail=self.received,
        )

    def received(self) -> list[dict[str, Any]]:
        """Everything, for the message of a failed test."""
        ours = [event for event in self.stream.seen if event["id"].endswith(self.guest.uuid)]
        return [{event["id"].split("|")[2]: event["params"]} for event in ours]

    def also(self, guest: Guest) -> Site:
        """The same for another guest."""
        return Site(self.host, guest, self.stream)


def display(host: LabHost, guest: Guest) -> Path:
    """Where the guest's display is."""
    return host.root / f"{guest.name}.vnc"


@pytest.fixture(scope="module")
def site(lab_host: LabHost, boot: BootFiles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The guest has booted, and the subscriber listens."""
    guest = Guest(lab_host, "events")
    screen = f"<graphics type='vnc' socket='{display(lab_host, guest)}'/></devices>"
    document = lab_host.root / "events.xml"
    document.write_text(guest.xml(boot).replace("</devices>", screen))
    with Daemon(tmp_path_factory.mktemp("events"), lab_host.uri) as daemon:
        stream = RestStream(daemon)
        stream.start()
        lab_host.virsh("create", str(document))
        try:
            guest.wait_for_console(UP)
            yield Site(lab_host, guest, stream)
        finally:
            if guest.uuid in lab_host.virsh("list", "--uuid"):
                lab_host.virsh("destroy", guest.uuid)
            stream.stop()


def test_a_balloon_that_moves(site: Site) -> None:
    """The guest returns memory, and its size is reported in KiB."""
    site.virsh("setmem", "100M")
    site.expect("VM_balloon", actual=100 * 1024)


def test_a_viewer_comes_and_goes(site: Site) -> None:
    """Connected, let in, gone."""
    with socket.socket(socket.AF_UNIX) as viewer:
        viewer.settimeout(10)
        viewer.connect(str(site.display))
        # RFC 6143, 7.1: version, security type None, shared.
        viewer.recv(12)
        viewer.sendall(b"RFB 003.008\n")
        viewer.recv(16)
        viewer.sendall(b"\x01")
        viewer.recv(4)
        viewer.sendall(b"\x01")
        site.expect("VM_graphics", phase="connect")
        site.expect("VM_graphics", phase="initialize")
    site.expect("VM_graphics", phase="disconnect")


def test_a_disk_comes_and_goes(site: Site) -> None:
    """An event reports that a device was added, and another that it was removed."""
    site.virsh("attach-disk", str(site.host.disk("extra")), "sdz", "--targetbus", "usb")
    site.expect("VM_device_added")
    site.virsh("detach-disk", "sdz")
    site.expect("VM_device_removed")


def test_a_disk_is_written_beyond_its_threshold(site: Site) -> None:
    """The guest writes all the time."""
    site.virsh("domblkthreshold", "vda", "1")
    site.expect("VM_block_threshold", dev="vda", threshold=1)


def test_a_disk_is_copied(site: Site) -> None:
    """The copy is ready, then it takes the disk's place."""
    site.virsh("blockcopy", "vda", "--dest", str(site.host.root / "disks" / "copy.raw"), "--wait", "--pivot")
    site.expect("VM_block_job", disk="vda", type="copy", status="ready")
    site.expect("VM_block_job", disk="vda", type="copy", status="completed")


def test_a_guest_is_reset(site: Site) -> None:
    """QEMU starts the guest over."""
    site.virsh("reset")
    site.expect("VM_reboot")


def test_a_disk_is_backed_up(site: Site) -> None:
    """The event of the job has its amounts of data, which are libvirt's numbers."""
    site.virsh("backup-begin")
    site.expect("VM_job_completed", job="backup", success=True)
    site.expect("VM_block_job", type="backup", status="completed")


def test_a_guest_is_saved(site: Site) -> None:
    """The machine is gone, as it was transient."""
    site.virsh("save", str(site.host.root / "disks" / "saved"))
    site.expect("VM_status", status="Down", exitReason=5)
    site.expect("VM_gone")


LIVELY = """\
<disk type='file' device='disk'>
  <driver name='qemu' type='raw' cache='none' error_policy='stop'/>
  <source file='{cramped}'/>
  <target dev='vdb' bus='virtio'/>
</disk>
<disk type='file' device='cdrom'>
  <source file='{absent}' startupPolicy='optional'/>
  <target dev='sda' bus='sata'/>
</disk>
<watchdog model='i6300esb' action='none'/>
</devices>"""


@pytest.fixture(scope="module")
def lively(site: Site, boot: BootFiles) -> Iterator[Site]:
    """A guest that does things by itself (init.sh), on hardware with which things can happen."""
    host, guest = site.host, Guest(site.host, "lively")
    devices = LIVELY.format(cramped=host.cramped_disk("full"), absent=host.root / "absent.iso")
    playing = dataclasses.replace(boot, cmdline=f"{boot.cmdline} lab.play")
    document = host.root / "lively.xml"
    document.write_text(guest.xml(playing).replace("</devices>", devices))
    host.virsh("create", str(document))
    yield site.also(guest)
    if guest.uuid in host.virsh("list", "--uuid"):
        host.virsh("destroy", guest.uuid)


def test_a_medium_that_is_missing_at_the_start(lively: Site) -> None:
    """The machine starts without it, and an event reports it."""
    absent = str(lively.host.root / "absent.iso")
    change = {"oldPath": absent, "newPath": "", "reason": "change-missing-on-start"}
    lively.expect("VM_disk_change", **change)


def test_a_tray_opens_and_closes(lively: Site) -> None:
    """A disc is inserted and ejected."""
    lively.virsh("change-media", "sda", str(lively.host.disk("disc")), "--insert")
    lively.expect("VM_tray", tray="close")
    lively.virsh("change-media", "sda", "--eject")
    lively.expect("VM_tray", tray="open")


def test_a_guest_sets_its_clock(lively: Site) -> None:
    """Back by many years; libvirt reports the offset from UTC."""
    lively.expect("VM_rtc")
    (offset,) = {event["VM_rtc"]["offset"] for event in lively.received() if "VM_rtc" in event}
    assert offset < -20 * 365 * 86400


def test_an_agent_comes_and_goes(lively: Site) -> None:
    """The guest opens its end of the channel, and closes it."""
    lively.expect("VM_agent", state="connected", reason="channel")
    lively.expect("VM_agent", state="disconnected", reason="channel")


def test_a_watchdog_fires(lively: Site) -> None:
    """The guest set it and forgot it; nothing is done about that."""
    lively.expect("VM_watchdog", action="none")


def test_a_disk_without_room(lively: Site) -> None:
    """The error is reported, then the pause, each with the reason."""
    lively.expect("VM_status", status="Paused", pauseCode="ENOSPC")
    happened = [next(iter(event.items())) for event in lively.received()]
    (failed,) = (params for kind, params in happened if kind == "VM_io_error")
    assert (failed["action"], failed["reason"], failed["alias"]) == ("pause", "enospc", "virtio-disk1")
    kinds = [kind for kind, params in happened if params.get("status") != "Up"]
    assert kinds.index("VM_io_error") < kinds.index("VM_status")
