"""Devices of every kind: parameters, their document, what libvirt reports of it, and the members again.

The documents are valid by libvirt's own schemas, too, where those are installed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vdsm_core import types
from vdsm_virt.api.params import VmParams
from vdsm_virt.create.launch_plan import plan
from vdsm_virt.domain.accelerator import DomainKind
from vdsm_virt.domain.elements import parse, to_text
from vdsm_virt.domain.read import definition

TEST = DomainKind(arch="i686", accelerated="test", emulated="test")
REAL = DomainKind(arch="x86_64", accelerated="kvm", emulated="qemu")
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")

_names = st.from_regex(r"\A[a-z][a-z0-9]{0,10}\Z")
_macs = st.integers(0, 2**24 - 1).map(
    lambda n: f"52:54:00:{n >> 16 & 255:02x}:{n >> 8 & 255:02x}:{n & 255:02x}"
)
#: libvirt rounds the memory of a card up to the next power of two.
_powers = st.integers(10, 16).map(lambda n: 2**n)
_rates = st.fixed_dictionaries(
    {"average": st.integers(1, 10**6)},
    optional={"peak": st.integers(1, 10**6), "burst": st.integers(1, 10**6)},
)

#: One of each kind: libvirt has no limit in all beside those of reads and writes.
_LIMITS = ("total_bytes_sec", "total_iops_sec")

NICS = st.fixed_dictionaries(
    {"type": st.just("interface"), "network": st.one_of(st.just(""), _names), "macAddr": _macs},
    optional={
        "nicModel": st.sampled_from(["pv", "rtl8139", "e1000"]),
        "linkActive": st.booleans(),
        "filter": _names,
        "mtu": st.integers(68, 9000),
        "portIsolated": st.just(True),
        "specParams": st.fixed_dictionaries({}, optional={"inbound": _rates, "outbound": _rates}),
    },
)
#: By kind: devices, and the members that libvirt must report as they were given.
OTHERS: dict[str, tuple[st.SearchStrategy[dict[str, Any]], tuple[str, ...]]] = {
    "sound": (
        st.fixed_dictionaries(
            {"type": st.just("sound"), "device": st.sampled_from(["ac97", "es1370", "ich6", "sb16"])}
        ),
        ("device",),
    ),
    "video": (
        st.fixed_dictionaries(
            {
                "type": st.just("video"),
                "device": st.just("qxl"),
                "specParams": st.fixed_dictionaries({"vram": _powers, "ram": _powers, "heads": st.just(1)}),
            }
        ),
        ("device", "specParams"),
    ),
    "watchdog": (
        st.fixed_dictionaries(
            {
                "type": st.just("watchdog"),
                "specParams": st.fixed_dictionaries(
                    {
                        "model": st.sampled_from(["i6300esb", "ib700"]),
                        "action": st.sampled_from(["none", "reset", "poweroff", "pause", "dump"]),
                    }
                ),
            }
        ),
        ("specParams",),
    ),
    "rng": (
        st.fixed_dictionaries(
            {
                "type": st.just("rng"),
                "specParams": st.fixed_dictionaries(
                    {"source": st.sampled_from(["random", "urandom", "hwrng"])}
                ),
            }
        ),
        ("specParams",),
    ),
    "smartcard": (
        st.fixed_dictionaries(
            {
                "type": st.just("smartcard"),
                "specParams": st.sampled_from(
                    [{"mode": "host"}, {"mode": "passthrough", "type": "spicevmc"}]
                ),
            }
        ),
        ("specParams",),
    ),
    "console": (
        st.fixed_dictionaries(
            {
                "type": st.just("console"),
                "specParams": st.fixed_dictionaries({"consoleType": st.sampled_from(["serial", "virtio"])}),
            }
        ),
        ("specParams",),
    ),
    "memory": (
        st.fixed_dictionaries(
            {"type": st.just("memory"), "size": st.integers(1, 64).map(lambda n: 16 * n), "node": st.just(0)}
        ),
        ("size", "node"),
    ),
    "tpm": (
        st.fixed_dictionaries(
            {
                "type": st.just("tpm"),
                "specParams": st.just({"mode": "passthrough", "path": "/dev/tpm0", "model": "tpm-tis"}),
            }
        ),
        ("specParams",),
    ),
    "hostdev": (
        st.fixed_dictionaries(
            {
                "type": st.just("hostdev"),
                "device": st.sampled_from(
                    [
                        "pci_0000_05_00_0",
                        "pci_0001_ff_1f_7",
                        "scsi_2_0_1_3",
                        "mdev_c0ffee00_0000_4000_8000_000000000001",
                    ]
                ),
            }
        ),
        ("device",),
    ),
    "balloon": (
        st.fixed_dictionaries(
            {
                "type": st.just("balloon"),
                "specParams": st.fixed_dictionaries({"model": st.sampled_from(["virtio", "none"])}),
            }
        ),
        ("specParams",),
    ),
    "controller": (
        st.fixed_dictionaries(
            {
                "type": st.just("controller"),
                "device": st.just("scsi"),
                "model": st.sampled_from(["virtio-scsi", "lsilogic"]),
            }
        ),
        ("device", "model"),
    ),
    "graphics": (
        st.one_of(
            st.fixed_dictionaries(
                {
                    "type": st.just("graphics"),
                    "device": st.just("vnc"),
                    "specParams": st.fixed_dictionaries(
                        {}, optional={"keyMap": st.sampled_from(["de", "en-us"])}
                    ),
                }
            ),
            st.fixed_dictionaries(
                {
                    "type": st.just("graphics"),
                    "device": st.just("spice"),
                    "specParams": st.fixed_dictionaries(
                        {},
                        optional={
                            "copyPasteEnable": st.just(False),
                            "fileTransferEnable": st.just(False),
                            "spiceSecureChannels": st.sampled_from(["smain", "smain,sinputs", "sdisplay"]),
                        },
                    ),
                }
            ),
        ),
        ("device",),
    ),
    "redir": (st.just({"type": "redir", "device": "spicevmc"}), ("device",)),
}
_images = _names.map(lambda name: f"/images/{name}")
DISKS = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("disk"),
            "device": st.just("disk"),
            "iface": st.sampled_from(["virtio", "ide", "scsi", "sata", "usb"]),
            "format": st.sampled_from(["raw", "cow"]),
            "path": _images,
            "diskType": st.sampled_from(["file", "block"]),
        },
        optional={
            "serial": st.from_regex(r"\A[A-Za-z0-9-]{1,20}\Z"),
            "bootOrder": st.integers(1, 9),
            "propagateErrors": st.sampled_from(["on", "off", "report"]),
            "specParams": st.fixed_dictionaries(
                {
                    "ioTune": st.dictionaries(
                        st.sampled_from(_LIMITS), st.integers(1, 10**9), min_size=1, max_size=2
                    )
                }
            ),
        },
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("disk"),
            "device": st.just("cdrom"),
            "iface": st.sampled_from(["ide", "scsi", "sata"]),
            "path": st.one_of(st.just(""), _images),
            "readonly": st.just(True),
        }
    ),
    st.fixed_dictionaries({"type": st.just("disk"), "device": st.just("floppy"), "path": _images}),
)
KINDS = st.one_of(*(devices for devices, _ in OTHERS.values()))
#: Devices beside which a kind needs others.
BESIDE = {"redir": [{"type": "controller", "device": "usb"}]}


def _document(device: dict[str, Any], kind: DomainKind) -> str:
    params = {
        "vmName": "a",
        "memSize": 64,
        "maxMemSize": 4096,
        "devices": [device, *BESIDE.get(device["type"], [])],
    }
    return to_text(plan(types.convert(params, VmParams), str(uuid.uuid4()), kind, "").domain)


@pytest.fixture(scope="module")
def connection() -> Iterator[Any]:
    """libvirt's test driver."""
    opened = libvirt.open("test:///default")
    yield opened
    opened.close()


def _reported(connection: Any, device: dict[str, Any], kind: str) -> dict[str, Any]:
    """What the definition shows of a device after libvirt has read and written its document."""
    domain = connection.defineXML(_document(device, TEST))
    try:
        text = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    finally:
        domain.undefine()
    shown = types.builtins(definition.read(parse(text), domain.UUIDString()).definition)["devices"]
    return next(each for each in shown if each.get("deviceId") == device.get("deviceId", kind))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(device=NICS)
def test_nics(connection: Any, device: dict[str, Any]) -> None:
    """Every member of a NIC comes back; one without a network is unplugged."""
    device = {**device, "deviceId": str(uuid.uuid4())}
    shown = _reported(connection, device, "interface")
    expected = {name: value for name, value in device.items() if name != "specParams"}
    limits = {name: limit for name, limit in device.get("specParams", {}).items() if limit}
    if limits:
        expected["specParams"] = limits
    if not device["network"]:
        expected["linkActive"] = False
    assert {name: shown.get(name) for name in expected} == expected


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(device=KINDS)
def test_other_devices(connection: Any, device: dict[str, Any]) -> None:
    """The members that make up a device come back, with its id."""
    device = {**device, "deviceId": str(uuid.uuid4())}
    shown = _reported(connection, device, device["type"])
    members = OTHERS[device["type"]][1]
    assert {name: shown.get(name) for name in members} == {name: device[name] for name in members}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(device=DISKS)
def test_disks(connection: Any, device: dict[str, Any]) -> None:
    """Every member of a disk, a CD-ROM and a floppy comes back."""
    device = {**device, "deviceId": str(uuid.uuid4())}
    shown = _reported(connection, device, "disk")
    assert {name: shown.get(name) for name in device} == device


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(device=OTHERS["graphics"][0])
def test_displays(connection: Any, device: dict[str, Any]) -> None:
    """What was asked for beyond the defaults comes back, beside the address."""
    device = {**device, "deviceId": str(uuid.uuid4())}
    shown = _reported(connection, device, "graphics")["specParams"]
    assert {name: value for name, value in shown.items() if name != "displayIp"} == device["specParams"]


@pytest.fixture(scope="module")
def schema() -> Any:
    """libvirt's schema of domains."""
    etree = pytest.importorskip("lxml.etree")
    if not SCHEMA.exists():
        pytest.skip("libvirt's schemas are not installed")
    return etree.RelaxNG(etree.parse(str(SCHEMA)))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(device=st.one_of(KINDS, NICS, DISKS))
def test_the_schema(schema: Any, device: dict[str, Any]) -> None:
    """A document is valid by libvirt's schema. That has no bridge named as VDSM's of unplugged NICs is, which
    libvirt itself accepts."""
    from lxml import etree  # noqa: PLC0415 - absent where the schema is skipped

    text = _document({**device, "deviceId": str(uuid.uuid4())}, REAL).replace(";vdsmdummy;", "vdsmdummy")
    document = etree.fromstring(text)
    assert schema.validate(document), f"{schema.error_log}\n{text}"
