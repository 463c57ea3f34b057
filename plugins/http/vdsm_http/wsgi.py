"""A WSGI application (PEP 3333) as the handler of a site."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from vdsm_http.messages import Request, Response

#: Key in the environment: the request itself.
REQUEST: Final = "vdsm.request"
#: Key in the environment: a function that takes what goes on with the connection instead of a body.
TAKE_OVER: Final = "vdsm.take_over"

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_NAMES: Final[dict[str, str]] = {"content-type": "CONTENT_TYPE"}
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
#: Header names that are remembered in their form of the environment; clients use few.
_MAX_NAMES: Final = 512


class WsgiHandler:
    """Calls a WSGI application. The request body is in memory already, whatever its framing was."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        environ = environment(request)
        response = Response(500)

        def start(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> Any:
            response.status = int(status[:3])
            response.headers = [header for header in headers if header[0] != "Content-Length"]
            return response.body.append  # type: ignore[union-attr]

        def take_over(take: Any) -> None:
            response.takeover = take

        environ[TAKE_OVER] = take_over
        response.body = []
        pieces = self._application(environ, start)
        try:
            response.body.extend(pieces)
        finally:
            if hasattr(pieces, "close"):
                pieces.close()
        if len(response.body) == 1:
            response.body = response.body[0]
        return response


def environment(request: Request) -> dict[str, Any]:
    """Return the WSGI environment of a request.

    Header names with an underscore are left out: they could not be told from those with a dash.
    """
    peer = request.peer
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path if "%" not in request.path else _unquoted(request.path),
        "QUERY_STRING": request.query,
        "REQUEST_URI": request.target,
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "SERVER_NAME": peer.local[0] or "localhost",
        "SERVER_PORT": str(peer.local[1]),
        "REMOTE_ADDR": peer.address,
        "REMOTE_PORT": str(peer.port),
        "CONTENT_LENGTH": str(len(request.body)) if request.body else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        REQUEST: request,
    }
    for name, value in request.headers.items():
        if name not in _FRAMING and "_" not in name:
            environ[_NAMES.get(name) or _name(name)] = value
    return environ


def _name(name: str) -> str:
    key = "HTTP_" + name.upper().replace("-", "_")
    if len(_NAMES) < _MAX_NAMES and len(name) < 64:
        _NAMES[name] = key
    return key


def _unquoted(path: str) -> str:
    return unquote_to_bytes(path).decode("latin-1")
