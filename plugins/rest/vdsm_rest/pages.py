"""Pages beside the verbs: the root of the API, its OpenAPI document, the page for people."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata, resources
from typing import Any, Final

import msgspec

from vdsm_bridge import types
from vdsm_bridge.api import openapi
from vdsm_bridge.api.routes import Route
from vdsm_rest import events
from vdsm_rest.description import WIRE
from vdsm_rest.router import ROOT

OPENAPI: Final = f"{ROOT}/openapi.json"
DOCS: Final = f"{ROOT}/docs"

#: What a client may rely on; names are only ever added.
CAPABILITIES: Final = (
    "entity-tags",  # ETag, If-Match, If-None-Match
    "events",  # GET /api/events, Last-Event-ID
    "fields",  # fields= on items and collections
    "filter",  # filter= on collections
    "idempotency-key",  # Idempotency-Key
    "openapi",  # /api/openapi.json
    "paging",  # limit=, offset=, Total-Count, Link
    "prefer-wait",  # Prefer: wait= is the deadline of a call
    "tasks",  # 202 and /api/tasks/{taskID}
    "verbs",  # POST /api/verbs/{name}
)

#: The page loads its own files and calls its own host only; no other page may frame it.
_POLICY: Final = (
    "Content-Security-Policy",
    (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
)
_FILES: Final = {
    DOCS: ("docs.html", "text/html"),
    f"{DOCS}/app.js": ("app.js", "text/javascript"),
    f"{DOCS}/events.js": ("events.js", "text/javascript"),
    f"{DOCS}/request.js": ("request.js", "text/javascript"),
    f"{DOCS}/types.js": ("types.js", "text/javascript"),
    f"{DOCS}/style.css": ("style.css", "text/css"),
    f"{DOCS}/icon.svg": ("icon.svg", "image/svg+xml"),
}


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One fixed resource. `public` ones contain nothing about this host and need no credentials."""

    media_type: str
    body: Callable[[], bytes]
    public: bool = False
    headers: tuple[tuple[str, str], ...] = (("Cache-Control", "no-cache"),)

    @property
    def content_type(self) -> str:
        """The value of `Content-Type`."""
        return f"{self.media_type}; charset=utf-8" if self.media_type.startswith("text/") else self.media_type


class Pages:
    """All pages. Files are read once; pages about the verbs are built once for each revision."""

    def __init__(self) -> None:
        self._files: dict[str, Page] = {}

    def of(self, routes: Sequence[Route], revision: str) -> Mapping[str, Page]:
        """Return the pages of one revision of the API, by path."""
        if not self._files:
            self._files = {path: _file(*what) for path, what in _FILES.items()}
        version = _version()
        return {
            ROOT: _json(lambda: _root(routes, version, revision)),
            OPENAPI: _json(lambda: openapi.document(routes, WIRE, version=version)),
            **self._files,
        }


def _root(routes: Sequence[Route], version: str, revision: str) -> dict[str, Any]:
    """Return the entry point; `product_info` has VDSM's members."""
    numbers = [int(part) if part.isdecimal() else 0 for part in version.split(".")] + [0, 0]
    collections = {
        route.namespace.plural: {
            "rel": route.namespace.plural,
            "href": f"{ROOT}/{route.namespace.plural}",
        }
        for route in routes
        # The list of what lies in another object has no path without the object.
        if route.part == "list" and "{" not in route.path
    }
    return {
        "product_info": {
            "name": "vdsm",
            "version": {
                "major": numbers[0],
                "minor": numbers[1],
                "build": numbers[2],
                "revision": revision,
                "full_version": version,
            },
        },
        "capabilities": list(CAPABILITIES),
        "links": [
            *(collections[name] for name in sorted(collections)),
            *({"rel": path, "href": f"{ROOT}/{path}"} for path in _questions(routes)),
            {"rel": "events", "href": events.PATH},
            {"rel": "service-desc", "href": OPENAPI},
            {"rel": "service-doc", "href": DOCS},
        ],
    }


def _questions(routes: Sequence[Route]) -> list[str]:
    """Return paths of queries that need no argument: `host/stats`."""
    return sorted(
        route.path.removeprefix(ROOT).strip("/")
        for route in routes
        if route.method == "GET"
        and not route.part
        and not any(argument.param.required for argument in route.arguments)
    )


def _version() -> str:
    try:
        return metadata.version("vdsm")
    except metadata.PackageNotFoundError:
        return "0.0.0"


def _json(make: Callable[[], Any]) -> Page:
    return Page(media_type="application/json", body=_once(lambda: types.to_json(make())))


def _once(make: Callable[[], bytes]) -> Callable[[], bytes]:
    lock = threading.Lock()
    made: list[bytes] = []

    def get() -> bytes:
        with lock:
            if not made:
                made.append(make())
        return made[0]

    return get


def _file(name: str, media_type: str) -> Page:
    data = resources.files("vdsm_rest").joinpath("static", name).read_bytes()
    headers = (("Cache-Control", "no-cache"), ("Referrer-Policy", "no-referrer"), _POLICY)
    return Page(media_type=media_type, body=lambda: data, public=True, headers=headers)
