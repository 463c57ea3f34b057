"""Errors as HTTP says them: one table from the tree of errors to status codes, and RFC 9457 documents."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec

from vdsm_bridge import errors, types
from vdsm_bridge.errors import InvalidRequest, NotFound, VdsmError

#: Where the reference of errors is; a slug follows.
TYPE_PREFIX: Final = "/api/docs#errors/"
MEDIA_TYPE: Final = "application/problem+json"


class MalformedRequest(InvalidRequest):
    """The request cannot be read: broken JSON, a broken header or query string. Facts: `reason`."""

    slug = "malformed-request"
    template = "The request cannot be read: {reason}"


class NoSuchResource(NotFound):
    """No route of the API has this path. Facts: `path`."""

    slug = "no-such-resource"
    template = "There is nothing at '{path}'"


class MethodNotAllowed(InvalidRequest):
    """The resource exists, but not with this method. Facts: `method`, `path`, `allowed` (list)."""

    slug = "method-not-allowed"
    template = "'{path}' does not know {method}"


class NotAcceptable(InvalidRequest):
    """The caller accepts no form that the answer has. Facts: `accept`, `offered`."""

    slug = "not-acceptable"
    template = "The answer is {offered}, and the request accepts '{accept}' only"


class UnsupportedMediaType(InvalidRequest):
    """The body is not JSON in UTF-8. Facts: `content_type`."""

    slug = "unsupported-media-type"
    template = "A body must be application/json in UTF-8, not '{content_type}'"


class BodyTooLarge(InvalidRequest):
    """The body is larger than the daemon takes. Facts: `limit` (bytes)."""

    slug = "body-too-large"
    template = "The body is larger than {limit} bytes"


class UriTooLong(InvalidRequest):
    """The path and query are longer than the daemon takes. Facts: `limit` (bytes)."""

    slug = "uri-too-long"
    template = "The path and query are longer than {limit} bytes"


class HeaderTooLarge(InvalidRequest):
    """The headers are larger than the daemon takes. Facts: `limit` (bytes)."""

    slug = "header-too-large"
    template = "The headers are larger than {limit} bytes"


class PreconditionFailed(errors.Conflict):
    """The resource is no longer, or not, as `If-Match` says. Facts: `path`, `reason`."""

    slug = "precondition-failed"
    template = "The condition on '{path}' does not hold: {reason}"


class ForeignPage(errors.AccessRefused):
    """A page of another site made a browser send this. Facts: `origin`."""

    slug = "foreign-page"
    template = "Requests from pages of another site are refused ({origin})"


class ForeignHost(errors.AccessRefused):
    """The request was meant for another host by its `Host` header. Facts: `host`."""

    slug = "foreign-host"
    template = "'{host}' is no name of this service; see the option 'hosts'"


class TooManyStreams(errors.Unavailable):
    """As many event streams are open as may be, or as one caller may have. Facts: `open`, `most`."""

    slug = "too-many-streams"
    template = "{open} event streams are open, of at most {most} for all callers; wait, or use Events.next"


#: The one table. The nearest class on the way up the tree decides.
STATUS: Final[dict[type[VdsmError], int]] = {
    MalformedRequest: 400,
    errors.Unauthenticated: 401,
    errors.AccessRefused: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    NotAcceptable: 406,
    errors.Conflict: 409,
    PreconditionFailed: 412,
    BodyTooLarge: 413,
    UriTooLong: 414,
    UnsupportedMediaType: 415,
    ForeignHost: 421,
    InvalidRequest: 422,
    errors.ResourceExhausted: 429,
    HeaderTooLarge: 431,
    errors.Unavailable: 503,
    errors.DeadlineExceeded: 504,
    VdsmError: 500,
}

#: Seconds after which a caller may try again.
_RETRY_AFTER: Final = "1"


def status_of(error: type[VdsmError]) -> int:
    """The status code of an error class."""
    return next(STATUS[cls] for cls in error.__mro__ if cls in STATUS)


class Problem(msgspec.Struct, frozen=True):
    """An error on the wire (RFC 9457). `code` is VDSM's number; `facts` are what the error knows."""

    type: str
    title: str
    status: int
    detail: str
    slug: str
    code: int
    facts: dict[str, Any] = {}


def problem_of(error: VdsmError) -> Problem:
    """What is told of an error."""
    status = status_of(type(error))
    return Problem(
        type=TYPE_PREFIX + error.slug,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=str(error),
        slug=error.slug,
        code=error.code,
        facts={name: _plain(value) for name, value in error.facts.items()},
    )


def headers_of(error: VdsmError, status: int) -> list[tuple[str, str]]:
    """The headers that an error's status asks for."""
    if status == 401:
        return [("WWW-Authenticate", 'Bearer realm="vdsm"')]
    if status == 405:
        return [("Allow", ", ".join(error.facts.get("allowed", ())))]
    if status in {429, 503}:
        return [("Retry-After", _RETRY_AFTER)]
    return []


def encode(problem: Problem) -> bytes:
    """JSON of a problem."""
    return types.to_json(problem)


def _plain(value: Any) -> Any:
    try:
        return types.builtins(value)
    except (TypeError, NotImplementedError):
        return str(value)
