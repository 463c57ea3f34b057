"""What schemathesis cannot know: a request id belongs to one request, a tag must have been read before, and
a call that waits for events waits."""

from __future__ import annotations

import re
import uuid
from typing import Any

import schemathesis

_GOOD_ID = re.compile(r"[\x21-\x7e]{1,255}")
_GOOD_TIME = re.compile(r"[0-9]{1,6}(\.[0-9]{1,9})?")
#: Seconds that a call may wait for events; schemathesis gives up after ten.
_WAIT = 0.1


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Make a request id another one each time, a condition one that can hold, a deadline one to be kept."""
    del context, kwargs
    headers = case.headers or {}
    if _GOOD_ID.fullmatch(headers.get("Idempotency-Key", "")):
        headers["Idempotency-Key"] = str(uuid.uuid4())
    if "If-Match" in headers:
        headers["If-Match"] = "*"
    if _GOOD_TIME.fullmatch(headers.get("Request-Timeout", "")):
        headers["Request-Timeout"] = "30"
    headers.pop("Prefer", None)
    _wait_shortly(case.query)
    _wait_shortly(case.body)


def _wait_shortly(arguments: Any) -> None:
    if isinstance(arguments, dict) and _is_long(arguments.get("timeout")):
        arguments["timeout"] = _WAIT


def _is_long(value: Any) -> bool:
    try:
        return _WAIT < float(value) <= 60
    except (TypeError, ValueError):
        return False
