"""Waiting for what an action on a machine leads to: `vm create --wait`, `vm migrate --wait`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from vdsm_bridge.transport import CallOptions, CallRefused
from vdsmsh.connection.session import Session
from vdsmsh.errors import TaskFailed

CREATE: Final = "VM.create"
MIGRATE: Final = "VM.migrate"
WAITED: Final = frozenset({CREATE, MIGRATE})
#: Seconds between two looks at a machine.
_LOOK: Final = 0.5
#: VDSM's `exitReason` of a machine that has moved.
_MIGRATED: Final = 4


def await_machine(session: Session, options: CallOptions, verb: str, vm_id: str) -> None:
    """Wait until a machine runs, or has moved; print a line.

    :raises TaskFailed: it does not
    :raises TransportError: the host refused, or did not answer
    """
    reading = CallOptions(timeout=options.timeout, flow_id=options.flow_id)
    name = vm_id
    while True:
        try:
            (stats,) = session.call("VM.getStats", {"vmID": vm_id}, reading)
        except CallRefused as error:
            if verb == MIGRATE and error.slug == "no-such-vm":
                print(f"{name} has moved", file=session.streams.stdout)
                return
            raise
        name = str(stats.get("vmName", name))
        done = _created(stats) if verb == CREATE else _migrated(stats)
        if done:
            print(f"{name} ({vm_id}) {done}", file=session.streams.stdout)
            return
        time.sleep(_LOOK)


def _created(stats: Mapping[str, Any]) -> str:
    status = str(stats["status"])
    if status == "Down":
        raise TaskFailed(f"{stats['vmName']} is down: {stats.get('exitMessage', 'no reason is known')}")
    return f"is in status {status}" if status in ("Up", "Paused", "Powering down", "RebootInProgress") else ""


def _migrated(stats: Mapping[str, Any]) -> str:
    if stats["status"] == "Down":
        if int(stats.get("exitReason", 0)) == _MIGRATED:
            return "has moved"
        raise TaskFailed(f"{stats['vmName']} is down: {stats.get('exitMessage', 'no reason is known')}")
    if stats.get("migrationError") and stats.get("migrationProgress") is None:
        raise TaskFailed(f"{stats['vmName']} stays here: {stats['migrationError']}")
    return ""
