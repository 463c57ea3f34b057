"""What schemathesis cannot know: a request id belongs to one request; a tag must have been read before."""

from __future__ import annotations

import uuid
from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Make each request id of a good request another one, and its condition one that can hold."""
    del context, kwargs
    headers = case.headers or {}
    if case.meta is None or case.meta.generation.mode.value != "positive":
        return
    if "Idempotency-Key" in headers:
        headers["Idempotency-Key"] = str(uuid.uuid4())
    if "If-Match" in headers:
        headers["If-Match"] = "*"
