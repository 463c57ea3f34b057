"""What callers put into open dictionaries and secrets is nowhere afterwards."""

from __future__ import annotations

import logging
import uuid
from pathlib import Path

import libvirt
import pytest

from vdsm_bridge.testing import TestHost
from vdsm_core.errors import VdsmError
from vdsm_core.secret import Secret
from vdsm_core.types import builtins
from vdsm_virt import Virt
from vdsm_virt.domain.elements import parse
from vdsm_virt.domain.write import tickets
from vdsm_virt.errors import SetTicketFailed

MARK = "canary-5d1e"
PLACES = {
    "unknown member": {"apiKey": MARK},
    "nested member": {"auth": {"passwd": MARK, "list": [{"privateKey": MARK}]}},
    "member with a known name": {"serial": {"x": MARK}, "guestIPs": MARK, "clientIp": [MARK]},
    "internal member": {"_X_notes": MARK, "sysprepInf": MARK},
    "custom property": {"custom": {"password": MARK, "viodiskcache": MARK}},
    "unknown device member": {
        "devices": [{"type": "disk", "device": "cdrom", "path": "", "auth": {"password": MARK}}]
    },
    "specParams": {
        "devices": [{"type": "graphics", "device": "vnc", "specParams": {"password": MARK, "keyMap": ""}}]
    },
    "payload": {
        "devices": [
            {
                "type": "disk",
                "device": "cdrom",
                "path": "",
                "specParams": {"vmPayload": {"file": {"user-data": MARK}}},
            }
        ]
    },
    "custom of a device": {"devices": [{"type": "balloon", "custom": {"password": MARK}}]},
}


@pytest.mark.parametrize("place", PLACES)
def test_open_dictionaries(tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str) -> None:
    """With requests that succeed and that fail, request ids, events and debug logging: neither a reply, nor a
    file of the daemon, nor libvirt's document, with or without security information, has the text."""
    caplog.set_level(logging.DEBUG)
    config = {
        "daemon": {"state_dir": str(tmp_path / "state")},
        "audit": {"file": str(tmp_path / "audit.log")},
    }
    shown: list[str] = []
    # libvirt's test driver shares its machines between connections of one process.
    reader = libvirt.open("test:///default")
    with TestHost(verbs={"virt": Virt}, config=config) as host:
        events = host.bridge.subscribe("")
        for extra in ({}, {"memSize": 0}, {"display": "local"}):
            vm_id = str(uuid.uuid4())
            params = {"vmId": vm_id, "vmName": vm_id, "memSize": 64, **PLACES[place], **extra}
            for _ in range(2):
                try:
                    reply = host.call("VM.create", request_id=vm_id, vmParams=params)
                    shown.append(str(builtins(reply)))
                except VdsmError as error:
                    shown.append(f"{error} {error.facts}")
        shown += [
            str(builtins(host.call(verb)))
            for verb in ("Host.getVMFullList", "Host.dumpxmls", "Host.getVerbs")
        ]
        for domain in reader.listAllDomains():
            shown += [domain.XMLDesc(flags) for flags in (0, libvirt.VIR_DOMAIN_XML_SECURE)]
        host.host.runtime.events.flush()
        shown += [str(event) for event in events.next(timeout=0, max_events=10_000)]
        events.close()
        _search(tmp_path)
    reader.close()
    _search(tmp_path)
    assert not [text for text in [*shown, caplog.text] if MARK in text]


def _search(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"audit.log", "state"} <= {path.relative_to(folder).parts[0] for path in files}
    assert not [path for path in files if MARK.encode() in path.read_bytes()]


@pytest.mark.parametrize("display", ["vnc", "local"])
def test_tickets_that_fail(vms, caplog, display):
    """The test driver changes no display: the error names the machine, and nothing shows the text."""
    caplog.set_level(logging.DEBUG)
    vm_id = vms.create(display=display)
    with pytest.raises(SetTicketFailed) as refusal:
        vms.call("VM.setTicket", vmID=vm_id, password="tick8et", ttl=60)
    assert vm_id in str(refusal.value)
    assert "tick8et" not in f"{refusal.value} {refusal.value.facts} {caplog.text}"


@pytest.mark.parametrize("device", ["vnc", "spice"])
def test_displays_are_closed_at_first(vms, device):
    """A display has a password of its own that has expired; the API does not show it."""
    found = set()
    for _ in range(2):
        vm_id = vms.create(vmName=str(uuid.uuid4()), devices=[{"type": "graphics", "device": device}])
        graphics = parse(vms.hypervisor.definitions.xml(vm_id, secure=True)).find("devices/graphics")
        assert graphics.get("passwdValidTo") == "1970-01-01T00:00:01"
        found.add(graphics.get("passwd"))
        assert graphics.get("passwd") not in vms.call("Host.dumpxmls")[vm_id]
    assert len(found) == 2
    assert {len(password) for password in found} == {8 if device == "vnc" else 60}


def test_open_displays(make_machines):
    """With the option, a display has no password, as earlier."""
    vms = make_machines(config={"plugin": {"virt": {"open_displays": True}}})
    vm_id = vms.create(display="vnc")
    assert "passwd" not in vms.hypervisor.definitions.xml(vm_id, secure=True)


@pytest.mark.parametrize(
    ("kind", "connected", "ttl"), [("vnc", None, 0), ("spice", "keep", 60), ("spice", "fail", 0)]
)
def test_the_element_of_a_ticket(kind, connected, ttl):
    """The password replaces the old one with its time; only SPICE is asked about connected viewers."""
    display = parse(f"<graphics type='{kind}' passwd='old' passwdValidTo='1970-01-01T00:00:01' port='5900'/>")
    tickets.fill(display, Secret("new"), ttl, "keep" if connected == "keep" else "fail")
    assert (display.get("passwd"), display.get("connected"), display.get("port")) == (
        "new",
        connected,
        "5900",
    )
    assert (display.get("passwdValidTo") is not None) == bool(ttl)
