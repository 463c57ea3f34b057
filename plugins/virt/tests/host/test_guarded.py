"""Facts that only root may read, and the helper that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.testing import Clock
from vdsm_core.privileged import HelperUnavailable
from vdsm_core.privileged.client import PrivilegedClient
from vdsm_virt import privileged
from vdsm_virt.host.hardware import dmi
from vdsm_virt.host.hardware.guarded import GuardedTree
from vdsm_virt.host.system.emulator_user import may_open
from vdsm_virt.host.system.identity import host_uuid
from vdsm_virt.host.system.libvirt_config import setting

UUID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
CONF = f"""# host_uuid = "commented"
host_uuid = "{UUID}"
vnc_password = "secret"
user = "qemu"
"""


class Helper(PrivilegedClient):
    """Runs the operations in this process, on files of the test."""

    def __init__(self) -> None:
        super().__init__("")
        self.calls: list[str] = []
        self.away = False

    def run(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        """Run it, or fail as without a helper."""
        self.calls.append(operation.name)
        if self.away:
            raise HelperUnavailable(operation=operation.name, reason="there is none")
        return operation.function(*args, **kwargs)


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helper:
    """A helper that reads the files of the test; this process may not read them."""
    (tmp_path / "product_serial").write_text("S3R1AL\n")
    (tmp_path / "product_uuid").write_text(f"{UUID}\n")
    (tmp_path / "libvirt.conf").write_text(CONF)
    monkeypatch.setattr(privileged, "_DMI", tmp_path)
    settings = {str(tmp_path / "libvirt.conf"): ("host_uuid",)}
    monkeypatch.setattr(privileged, "_SETTINGS", settings)
    return Helper()


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process may not read the guarded files."""
    read = Path.read_text

    def read_text(self: Path, *args: Any, **kwargs: Any) -> str:
        if str(self).startswith(("/sys/class/dmi", "/etc/libvirt")):
            raise PermissionError(13, "Permission denied")
        return read(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", read_text)


@pytest.mark.usefixtures("forbidden")
def test_the_helper_reads_what_this_process_may_not(helper: Helper) -> None:
    """Serial number and UUID of the board, once; the host's id stays what a daemon of root reported."""
    tree = GuardedTree(Path("/"), helper)
    for _ in range(2):
        found = dmi.hardware(tree)
        assert (found.system_serial_number, found.system_uuid) == ("S3R1AL", UUID)
    assert helper.calls == ["read_firmware"]
    assert tree.text("sys/class/dmi/id/product_uuid") == UUID
    assert isinstance(host_uuid(tree, None), str)


@pytest.mark.usefixtures("forbidden")
def test_without_a_helper_they_are_absent(helper: Helper, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once, with the reason; with a helper that is back they are there."""
    helper.away = True
    clock = Clock()
    tree = GuardedTree(Path("/"), helper, clock)
    for _ in range(3):
        assert tree.text("sys/class/dmi/id/product_serial") is None
    (record,) = caplog.records
    assert record.getMessage().startswith("sys/class/dmi/id/product_serial stays unknown: Cannot run the")
    assert record.getMessage().endswith("operation read_firmware: there is none")
    assert len(helper.calls) == 1, "no call waits for a helper that has just failed"
    helper.away = False
    assert tree.text("sys/class/dmi/id/product_serial") is None
    clock.move(11.0)
    assert tree.text("sys/class/dmi/id/product_serial") == "S3R1AL"


def test_what_this_process_may_read_it_reads_itself(tmp_path: Path, helper: Helper) -> None:
    """Another root than `/` is never the helper's."""
    (tmp_path / "etc/libvirt").mkdir(parents=True)
    (tmp_path / "etc/libvirt/libvirtd.conf").write_text(CONF)
    tree = GuardedTree(tmp_path, helper)
    assert setting(tree, "etc/libvirt/libvirtd.conf", "host_uuid") == f'"{UUID}"'
    assert tree.text("etc/libvirt/qemu.conf") is None
    assert tree.text("proc/none") is None
    assert helper.calls == []


def test_settings_are_read_one_by_one(helper: Helper, tmp_path: Path) -> None:
    """Those that are asked for, and no password."""
    lines = privileged.read_libvirt_settings.function().lines
    assert lines == {str(tmp_path / "libvirt.conf"): [f'host_uuid = "{UUID}"']}


def test_files_that_are_not_there_say_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A board without DMI, a host without libvirt."""
    monkeypatch.setattr(privileged, "_DMI", tmp_path / "none")
    monkeypatch.setattr(privileged, "_SETTINGS", {"nonexistent/file": ("user",)})
    assert privileged.read_firmware.function() == privileged.Firmware("", "")
    assert privileged.read_libvirt_settings.function().lines == {"nonexistent/file": []}


def test_a_service_looks_at_the_user_of_emulators(tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It drives the system's libvirt without being root; an ordinary user has a libvirt of its own."""
    made = tree({"etc/passwd": "libvirt-qemu:x:64055:64055::/:/bin/false\n", "dev/kvm": ""})
    (made.root / "dev/kvm").chmod(0o660)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for variable in ("CONFIGURATION_DIRECTORY", "STATE_DIRECTORY", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(variable, raising=False)
    assert may_open(made, "dev/kvm")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/vdsm")
    assert not may_open(made, "dev/kvm")
