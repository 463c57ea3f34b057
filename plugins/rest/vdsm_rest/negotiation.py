"""What forms are accepted and sent: `Accept`, `Content-Type`, and the reading of bodies."""

from __future__ import annotations

from email.message import Message
from typing import Any, Final

from vdsm_rest.arguments import NO_BODY, read_json
from vdsm_rest.caller import Environ
from vdsm_rest.options import RestOptions
from vdsm_rest.problems import BodyTooLarge, MalformedRequest, NotAcceptable, UnsupportedMediaType

_ANY: Final = frozenset({"*/*", "application/json"})
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii"})


def accept(environ: Environ, media_type: str) -> None:
    """See whether the caller takes an answer of this type.

    :raises NotAcceptable: it does not
    """
    header = environ.get("HTTP_ACCEPT")
    if not header or (header in _ANY and media_type == "application/json"):
        return
    # The most specific range that fits decides (RFC 9110, section 12.5.1).
    ranges = {media_type: 3, f"{media_type.partition('/')[0]}/*": 2, "*/*": 1}
    best, quality = 0, 0.0
    for part in header.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if ranges.get(name, 0) > best:
            best, quality = ranges[name], _quality(parameters)
    if quality <= 0:
        raise NotAcceptable(accept=header, offered=media_type)


def body(environ: Environ, options: RestOptions) -> Any:
    """The JSON value of a body, or `NO_BODY`.

    :raises UnsupportedMediaType: it is something else than JSON
    :raises BodyTooLarge: it is larger than the limit
    :raises MalformedRequest: it is no JSON, or its framing is broken
    """
    data = _read(environ, options.max_body)
    if not data:
        return NO_BODY
    content_type = environ.get("CONTENT_TYPE", "")
    if content_type != "application/json" and not _is_json(content_type):
        raise UnsupportedMediaType(content_type=content_type)
    return read_json(data, options.max_depth)


def no_body(environ: Environ) -> None:
    """See that a request that carries its arguments in the query string has no body.

    :raises MalformedRequest: it has one
    """
    if environ.get("HTTP_TRANSFER_ENCODING") or environ.get("CONTENT_LENGTH", "0") not in {"", "0"}:
        raise MalformedRequest(reason=f"{environ['REQUEST_METHOD']} takes no body here")


def _read(environ: Environ, limit: int) -> bytes:
    length = environ.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdecimal()):
        raise MalformedRequest(reason="Content-Length is no number")
    if int(length) > limit:
        raise BodyTooLarge(limit=limit)
    data: bytes = environ["wsgi.input"].read(int(length)) if int(length) else b""
    return data


def _is_json(content_type: str) -> bool:
    message = Message()
    message["Content-Type"] = content_type
    charset = message.get_param("charset", "utf-8")
    return message.get_content_type() == "application/json" and str(charset).lower() in _CHARSETS


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
