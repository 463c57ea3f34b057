"""The way of one request from the socket to libvirt, as it really was.

`docs/reference/trip.md` is written from a trace by

    VDSM_WRITE_TRIP=1 python -m pytest tests/architecture/test_trip.py
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_core.hypervisor.connection.workers import Workers

pytest.importorskip("vdsm_rest")
pytest.importorskip("vdsm_virt")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "trip.md"
VM = "11111111-2222-4333-8444-555555555555"
MAX_ROOMS = 7
HEAD = """# The way of a request

`POST /api/vms/{vmID}/pause`, from the whole request to libvirt: the functions that are under way in the
thread of the request when libvirt is called, outermost first, room by room. A test writes this page from
a real call, and fails when the way has become another one or leads through more than seven rooms. What a
room asks on the way and leaves again (the origin, who calls, the registry of verbs, locks, the audit
log, hooks) is not under way then.
"""


def frames() -> Iterator[tuple[str, str]]:
    """Room and function of each of our frames of this thread, outermost first."""
    frame, found = sys._getframe(1), []
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(ROOT) and not file.is_relative_to(ROOT / "tests"):
            room = file.parent.relative_to(ROOT).as_posix()
            found.append((room, f"{file.stem}: {frame.f_code.co_qualname}"))
        frame = frame.f_back  # type: ignore[assignment]
    # Which thread of the front has read the request, and in how many pieces, is a matter of the moment.
    begin = [step for _, step in found].index("session: Session.perform")
    return reversed(found[: begin + 1])


def pause(port: int) -> int:
    """Pause the machine over REST; the status of the reply."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", f"/api/vms/{VM}/pause", "{}", {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_trip_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one on the page, in seven rooms at most, none entered twice."""
    trips: list[list[tuple[str, str]]] = []
    run = Workers.run

    def traced(self: Workers, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("operation") == "suspend":
            trips.append(list(frames()))
        return run(self, *args, **kwargs)

    monkeypatch.setattr(Workers, "run", traced)
    config = {"plugin": {"rest": {"port": 0}, "xmlrpc": {"enabled": False}, "qmf": {"enabled": False}}}
    with TestHost(installed=True, config=config) as host:
        rest = next(plugin for plugin in host.host.plugins() if plugin.name == "rest")
        host.call("VM.create", vmParams={"vmId": VM, "vmName": "trip", "memSize": 64})
        until(lambda: host.call("VM.getStats", vmID=VM)[0].status == "Up")
        assert pause(int(rest.address[0].rpartition(":")[2])) == http.client.NO_CONTENT
    (trip,) = trips
    rooms = [room for room, _ in groupby(trip, key=lambda step: step[0])]
    assert len(rooms) <= MAX_ROOMS
    assert sorted(set(rooms)) == sorted(rooms), "back and forth"
    text = HEAD
    for number, (room, steps) in enumerate(groupby(trip, key=lambda step: step[0]), 1):
        text += f"\n{number}. `{room}`\n" + "".join(f"   - `{step}`\n" for _, step in steps)
    if os.environ.get("VDSM_WRITE_TRIP"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text
