"""The lab itself: what the functional tests stand on is there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.functional.lab import POWERS_OFF, UP, BootFiles, Guest, GuestAgent, LabHost, boot_files
from vdsm_bridge.testing.polling import until

pytestmark = pytest.mark.functional


@contextmanager
def running(host: LabHost, boot: BootFiles, name: str, disk: Path | None = None) -> Iterator[Guest]:
    """A guest that has booted."""
    guest = Guest(host, name)
    document = host.root / f"{name}.xml"
    document.write_text(guest.xml(boot, disk))
    host.virsh("create", str(document))
    try:
        guest.wait_for_console(UP)
        yield guest
    finally:
        if guest.uuid in host.virsh("list", "--uuid"):
            host.virsh("destroy", guest.uuid)


@pytest.fixture(scope="module")
def guest(lab_host: LabHost, boot: BootFiles) -> Iterator[Guest]:
    """One guest for the tests that leave it as it is."""
    with running(lab_host, boot, "lab-check") as guest:
        yield guest


@pytest.mark.parametrize(
    "group",
    [
        ("cpu.time",),
        ("balloon.last-update",),
        ("net.0.rx.bytes", "net.0.tx.bytes"),
        ("block.0.rd.bytes", "block.0.wr.bytes"),
    ],
    ids=["cpu", "memory", "net", "disk"],
)
def test_statistics_move(lab_host: LabHost, guest: Guest, group: tuple[str, ...]) -> None:
    """A guest that runs works its processor, memory balloon, network card and disk."""
    first = lab_host.statistics(guest.uuid)

    def moved() -> bool:
        now = lab_host.statistics(guest.uuid)
        return all(now[name] > first[name] for name in group)

    until(moved, every=0.1, detail=lambda: (first, lab_host.statistics(guest.uuid)))


def test_guests_outlive_libvirtd(lab_host: LabHost, guest: Guest) -> None:
    """libvirtd, ended either way and started again, finds the same process of the same guest running."""
    pid = lab_host.qemu_pid(guest.uuid)
    for abruptly in (False, True):
        lab_host.stop(abruptly=abruptly)
        lab_host.start()
        assert lab_host.virsh("domstate", guest.uuid).strip() == "running"
    assert lab_host.qemu_pid(guest.uuid) == pid


def test_power_button(lab_host: LabHost, boot: BootFiles) -> None:
    """The guest shuts itself down when libvirt presses its power button."""
    with running(lab_host, boot, "lab-button") as guest:
        lab_host.virsh("shutdown", "--mode", "acpi", guest.uuid)
        guest.wait_for_console(POWERS_OFF)
        until(lambda: guest.uuid not in lab_host.virsh("list", "--all", "--uuid"), every=0.1)


def test_guest_agent(lab_host: LabHost, boot: BootFiles) -> None:
    """A guest with an agent runs programs, freezes its file system, falls silent, and shuts down by it."""
    with running(lab_host, boot.with_agent(), "lab-agent", lab_host.file_system("lab-agent")) as guest:
        agent = GuestAgent(lab_host, guest.uuid)
        agent.wait()
        assert agent.run("/bin/hostname") == "lab-guest.example\n"
        assert agent.shell("mount | grep -c /mnt/vda") == "1\n"

        lab_host.virsh("domfsfreeze", guest.uuid)
        frozen = lab_host.statistics(guest.uuid)["block.0.wr.reqs"]
        assert agent.ask("guest-fsfreeze-status") == "frozen"
        assert lab_host.statistics(guest.uuid)["block.0.wr.reqs"] == frozen
        lab_host.virsh("domfsthaw", guest.uuid)
        until(lambda: lab_host.statistics(guest.uuid)["block.0.wr.reqs"] > frozen, every=0.1)

        agent.fall_silent(3)
        agent.wait()

        lab_host.virsh("shutdown", "--mode", "agent", guest.uuid)
        guest.wait_for_console(POWERS_OFF)
        until(lambda: guest.uuid not in lab_host.virsh("list", "--all", "--uuid"), every=0.1)


def test_nothing_outlives_the_lab(boot: BootFiles) -> None:
    """Closing a lab ends the guests that still run, and removes its folder."""
    with LabHost.open() as other:
        guest = Guest(other, "left-running")
        document = other.root / "left-running.xml"
        document.write_text(guest.xml(boot))
        other.virsh("create", str(document))
        assert other.qemu_pid(guest.uuid)
    with pytest.raises(LookupError):
        other.qemu_pid(guest.uuid)
    assert not other.root.exists()


def test_the_kernel_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several processes that need it at the same time wait for the one that makes it."""
    made = []

    def build(work: Path) -> None:
        made.append(work)
        time.sleep(0.2)  # the others come meanwhile
        (work / "vmlinuz").touch()

    monkeypatch.setattr("tests.functional.lab.boot._build", build)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: boot_files(tmp_path), range(4)))
    assert len(made) == 1
    assert all(each.kernel.exists() for each in found)
