"""Errors over HTTP: one table from the tree of errors to status codes, and RFC 9457 documents."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any, Final

import msgspec

from vdsm_bridge import errors, types
from vdsm_bridge.errors import InvalidRequest, NotFound, VdsmError

#: Prefix of the URL of an error's description; the slug follows.
TYPE_PREFIX: Final = "/api/docs#errors/"
MEDIA_TYPE: Final = "application/problem+json"


class MalformedRequest(InvalidRequest):
    """The request cannot be read: broken JSON, a broken header or query string. Facts: `reason`."""

    slug = "malformed-request"
    template = "Cannot read the request: {reason}"


class NoSuchResource(NotFound):
    """No route of the API has this path. Facts: `path`."""

    slug = "no-such-resource"
    template = "There is no resource at '{path}'; GET /api/openapi.json lists all paths"


class MethodNotAllowed(InvalidRequest):
    """The resource exists, but not with this method. Facts: `method`, `path`, `allowed` (list)."""

    slug = "method-not-allowed"
    template = "The resource '{path}' does not support {method}; the header Allow lists what it supports"


class NotAcceptable(InvalidRequest):
    """The caller accepts no media type that the reply can have. Facts: `accept`, `offered`."""

    slug = "not-acceptable"
    template = "Cannot reply: the reply is {offered}, and the header Accept allows '{accept}' only"


class UnsupportedMediaType(InvalidRequest):
    """The body is not JSON in UTF-8. Facts: `content_type`."""

    slug = "unsupported-media-type"
    template = "Cannot read the body: it must be application/json in UTF-8, not '{content_type}'"


class BodyTooLarge(InvalidRequest):
    """The body is larger than `max_body`. Facts: `limit` (bytes)."""

    slug = "body-too-large"
    template = "Cannot read the body: it is larger than {limit} bytes ([plugin.rest] max_body)"


class UriTooLong(InvalidRequest):
    """The path and query are longer than `max_header`. Facts: `limit` (bytes)."""

    slug = "uri-too-long"
    template = "Cannot read the request: path and query exceed {limit} bytes ([plugin.rest] max_header)"


class HeaderTooLarge(InvalidRequest):
    """The headers are larger than `max_header`. Facts: `limit` (bytes)."""

    slug = "header-too-large"
    template = "Cannot read the request: its headers exceed {limit} bytes ([plugin.rest] max_header)"


class PreconditionFailed(errors.Conflict):
    """The resource does not match the header `If-Match`. Facts: `path`, `reason`."""

    slug = "precondition-failed"
    template = "The condition on '{path}' does not hold: {reason}"


class ForeignPage(errors.AccessRefused):
    """A page of another site made a browser send the request. Facts: `origin`."""

    slug = "foreign-page"
    template = "Requests from pages of other sites are refused (origin {origin})"


class ForeignHost(errors.AccessRefused):
    """The header `Host` names another host. Facts: `host`."""

    slug = "foreign-host"
    template = "The host name '{host}' is not served here; add it to [plugin.rest] hosts"


class TooManyStreams(errors.Unavailable):
    """Too many event streams are open, of all callers or of this one. Facts: `open`, `most`, `option`."""

    slug = "too-many-streams"
    template = (
        "Cannot open another event stream: {open} are open, of at most {most} ({option}). Close one, or wait "
        "for events with the verbs of Events"
    )


#: Status codes by class of error; an error has that of its nearest base class.
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

#: Seconds after which a caller may try again, unless the error has a fact `retry_after`.
_RETRY_AFTER: Final = 1.0


def status_of(error: type[VdsmError]) -> int:
    """Return the status code of an error class."""
    return next(STATUS[cls] for cls in error.__mro__ if cls in STATUS)


class Problem(msgspec.Struct, frozen=True):
    """An error on the wire (RFC 9457). `code` is VDSM's number; `facts` are the error's attributes."""

    type: str
    title: str
    status: int
    detail: str
    slug: str
    code: int
    facts: dict[str, Any] = {}


def problem_of(error: VdsmError) -> Problem:
    """Return the problem document of an error."""
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
    """Return the headers that belong to an error's status."""
    if status == 401:
        return [("WWW-Authenticate", 'Bearer realm="vdsm"')]
    if status == 405:
        return [("Allow", ", ".join(error.facts.get("allowed", ())))]
    if status in {429, 503}:
        # The header has whole seconds (RFC 9110, section 10.2.3).
        return [("Retry-After", str(max(1, math.ceil(error.facts.get("retry_after", _RETRY_AFTER)))))]
    return []


def encode(problem: Problem) -> bytes:
    """Return a problem as JSON."""
    return types.to_json(problem)


def _plain(value: Any) -> Any:
    try:
        return types.builtins(value)
    except (TypeError, NotImplementedError):
        return str(value)
