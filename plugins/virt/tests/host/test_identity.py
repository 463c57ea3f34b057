"""The host's id and DMI."""

import uuid

import pytest
from msgspec import UNSET

from vdsm_core.types import builtins
from vdsm_virt.host.hardware import dmi
from vdsm_virt.host.system.identity import host_uuid

LIBVIRT = "11111111-2222-3333-4444-555555555555"
FIRMWARE = "AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE"
CHOSEN = "99999999-2222-3333-4444-555555555555"
EVERYTHING = {
    "etc/vdsm/vdsm.id": CHOSEN + "\n",
    "etc/libvirt/libvirtd.conf": f'# a comment\nhost_uuid = "{LIBVIRT}"\n',
    "sys/class/dmi/id/product_uuid": FIRMWARE + "\n",
    "etc/machine-id": "3d1219c7c4c5404aaa1f6d2a48adfda4\n",
}


@pytest.mark.parametrize(
    ("absent", "expected"),
    [(0, CHOSEN), (1, LIBVIRT), (2, FIRMWARE.lower())],
    ids=["chosen", "libvirt", "dmi"],
)
def test_order_of_sources(tree, absent, expected):
    """A configured id precedes the firmware's."""
    files = dict(list(EVERYTHING.items())[absent:])
    assert host_uuid(tree(files), LIBVIRT) == expected


def test_machine_id_is_not_shown_but_its_derivate_is_stable(tree):
    """libvirt's own id, not configured, is another at each start: the machine-id precedes it."""
    found = {host_uuid(tree({"etc/machine-id": EVERYTHING["etc/machine-id"]}), LIBVIRT) for _ in range(2)}
    assert len(found) == 1
    derived = uuid.UUID(found.pop())
    assert derived.version == 5
    assert derived.hex != EVERYTHING["etc/machine-id"].strip()


@pytest.mark.parametrize(
    "placeholder", ["00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"]
)
def test_placeholder_of_firmware_is_no_id(tree, placeholder):
    """Hosts of a vendor that leaves the field blank must not share an id."""
    assert host_uuid(tree({"sys/class/dmi/id/product_uuid": placeholder}), LIBVIRT) == LIBVIRT


def test_commented_setting_of_libvirt_does_not_count(tree):
    """The file that libvirt ships has the setting commented out."""
    files = {"etc/libvirt/libvirtd.conf": '#host_uuid = "x"\n', "sys/class/dmi/id/product_uuid": FIRMWARE}
    assert host_uuid(tree(files), LIBVIRT) == FIRMWARE.lower()


def test_no_source_no_id(tree):
    """An id is never invented."""
    assert host_uuid(tree({}), None) is UNSET


def test_hardware_names_are_vdsms(tree):
    """Members by VDSM's names; what the firmware leaves out or empty is absent."""
    folder = "sys/class/dmi/id"
    files = {
        f"{folder}/sys_vendor": "ACME\n",
        f"{folder}/product_name": "Rocket\n",
        f"{folder}/product_version": "\n",
        f"{folder}/product_uuid": FIRMWARE,
    }
    assert builtins(dmi.hardware(tree(files))) == {
        "systemManufacturer": "ACME",
        "systemProductName": "Rocket",
        "systemUUID": FIRMWARE,
    }
