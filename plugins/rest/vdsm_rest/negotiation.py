"""Content negotiation (`Accept`, `Accept-Encoding`, `Content-Type`), and reading bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from vdsm_http import Request
from vdsm_rest.arguments import NO_BODY, read_json
from vdsm_rest.problems import MalformedRequest, NotAcceptable, UnsupportedMediaType

_ANY: Final = frozenset({"*/*", "application/json"})
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii"})


def accept(header: str | None, media_type: str) -> None:
    """Check that the caller accepts a reply of this type.

    :param header: the value of `Accept`
    :raises NotAcceptable: the caller does not
    """
    if not header or (header in _ANY and media_type == "application/json"):
        return
    # The most specific matching range decides (RFC 9110, section 12.5.1).
    if _quality_of(header, (media_type, f"{media_type.partition('/')[0]}/*", "*/*")) <= 0:
        raise NotAcceptable(accept=header, offered=media_type)


def accepts_gzip(header: str) -> bool:
    """Return whether `Accept-Encoding` prefers gzip to no coding."""
    if not header:
        return False
    gzip = _quality_of(header, ("gzip", "x-gzip", "*"))
    # No coding is acceptable unless listed otherwise; what is listed is preferred (RFC 9110, 12.5.3).
    return gzip > 0 and gzip >= _quality_of(header, ("identity",))


def body(request: Request, max_depth: int) -> Any:
    """Return the JSON value of a body, or `NO_BODY`.

    :param max_depth: of objects and arrays inside each other
    :raises UnsupportedMediaType: the body has another media type than JSON
    :raises MalformedRequest: the body is not JSON
    """
    if not request.body:
        return NO_BODY
    content_type = request.headers.get("content-type", "")
    if content_type != "application/json" and not _is_json(content_type):
        raise UnsupportedMediaType(content_type=content_type)
    return read_json(request.body, max_depth)


def no_body(request: Request) -> None:
    """Check that a request that carries its arguments in the query string has no body.

    :raises MalformedRequest: the request has a body
    """
    if request.body:
        raise MalformedRequest(
            reason=f"{request.method} has no body here; give arguments in the query string"
        )


def _is_json(content_type: str) -> bool:
    """Return whether a media type is JSON in UTF-8. Its time is linear, unlike that of the email package."""
    name, *parameters = (piece.strip().lower() for piece in content_type.split(";"))
    pairs = (parameter.partition("=") for parameter in parameters)
    charsets = [value.strip(' "') for key, _, value in pairs if key.strip() == "charset"]
    return name == "application/json" and _CHARSETS.issuperset(charsets)


def _quality_of(header: str, names: Sequence[str]) -> float:
    """Return the quality of the first of these names that a header lists; 0 if it lists none.

    :param names: in lower case, the most specific first
    """
    place, quality = len(names), 0.0
    for part in header.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if name in names[:place]:
            place, quality = names.index(name), _quality(parameters)
    return quality


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
