"""The circumstances of a call."""

from __future__ import annotations

import logging
import time

import pytest

from vdsm_bridge.call import context as calls
from vdsm_bridge.call.context import Context, FlowFilter, Identity


@pytest.mark.parametrize(("deadline", "least", "most"), [(None, 7, 7), (-5, 0, 0), (10, 9, 10)])
def test_remaining(deadline: float | None, least: float, most: float) -> None:
    """Seconds to the deadline, never negative; without one, what is given."""
    context = Context(deadline=None if deadline is None else time.monotonic() + deadline)
    assert least <= context.remaining(7) <= most


def test_roles_include_those_below() -> None:
    """Each level is above the one before."""
    levels = [Identity("a", role).level for role in ("monitor", "operator", "admin")]  # type: ignore[arg-type]
    assert levels == sorted(set(levels))


def test_log_lines_belong_to_their_call() -> None:
    """Within a call they have its flow id and its caller; outside they have none."""
    record = logging.LogRecord("vdsm", logging.INFO, "", 1, "x", None, None)
    token = calls.enter(Context(identity=Identity("joe", "admin"), flow_id="abc"))
    assert FlowFilter().filter(record)
    assert (record.flow, record.caller) == ("[abc] ", "joe")
    calls.leave(token)
    FlowFilter().filter(record)
    assert (record.flow, record.caller) == ("", "-")
