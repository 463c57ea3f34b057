"""What schemathesis cannot know: a request id belongs to one request; a tag must have been read before."""

from __future__ import annotations

import re
import uuid
from typing import Any

import schemathesis

_GOOD_ID = re.compile(r"[\x21-\x7e]{1,255}")
_GOOD_TIME = re.compile(r"[0-9]{1,6}(\.[0-9]{1,9})?")


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
