"""The binding: the REST API on its sockets."""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar

import msgspec

from vdsm_bridge import Binding, Bridge, Health, Options
from vdsm_bridge.errors import Unavailable, UnexpectedError, VdsmError
from vdsm_http import Attachment, Front, Limits, Response, Site, Tls, tcp
from vdsm_rest import problems
from vdsm_rest.application import ApiApplication
from vdsm_rest.options import RestOptions
from vdsm_rest.router import ROOT
from vdsm_rest.service import Service


class RestBinding(Binding):
    """The API over HTTP, on TCP and on a unix socket."""

    Config: ClassVar[type[Options]] = RestOptions

    def __init__(self, bridge: Bridge, config: RestOptions) -> None:
        super().__init__(bridge, config)
        self._service = Service(bridge, config)
        self._attachment: Attachment | None = None

    def start(self) -> None:
        """Listen.

        :raises OSError: an address or path cannot be listened on, or the certificate cannot be used
        """
        options: RestOptions = self.config
        unix = [options.socket] if options.socket else []
        addresses: list[tuple[str, int] | str] = [*unix, *tcp(options.address, options.port)]
        limits = Limits(
            timeout=options.timeout,
            max_header=options.max_header,
            max_body=options.max_body,
            max_threads=options.max_threads,
            backlog=options.backlog,
            max_connections=options.connections,
        )
        site = Site("rest", ApiApplication(self._service), limits, claims=claims, refuse=self._refuse)
        self._attachment = self.bridge.shared.get(Front).attach(
            site,
            addresses,
            mode=int(options.socket_mode, 8),
            tls=Tls.of(self.bridge, options.tls),
            limits=lambda: self.bridge.limits.options,
        )

    def stop(self, grace: float) -> None:
        """Refuse new calls, let running ones end within `grace` seconds, free threads, sockets and files."""
        self._service.waiting.end()
        self._service.streams.end()
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.close(grace)

    @property
    def address(self) -> tuple[str, ...]:
        """URLs: `http://address:port`, `https://address:port`, and `unix:path`."""
        return () if self._attachment is None else self._attachment.urls

    def health(self) -> Health:
        """Degraded if a verb has no route, the certificate has a problem, or requests are queued."""
        conflicts = self._service.api().conflicts
        if conflicts:
            return Health("degraded", "; ".join(map(str, conflicts)))
        if self._attachment is not None and (trouble := self._attachment.trouble):
            return Health("degraded", trouble)
        waiting = self._attachment.waiting if self._attachment is not None else 0
        return Health("degraded", f"{waiting} requests are queued behind others") if waiting else Health()

    def _refuse(self, status: HTTPStatus, reason: str) -> Response:
        """Return the problem document of a request that does not reach the service."""
        problem = problems.problem_of(self._error(status, reason))
        if problem.status != status:
            problem = msgspec.structs.replace(problem, status=int(status), title=status.phrase)
        headers = [("Content-Type", problems.MEDIA_TYPE), ("X-Content-Type-Options", "nosniff")]
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers += problems.headers_of(Unavailable(reason=reason), int(status))
        return Response(status, headers, problems.encode(problem), close=True)

    def _error(self, status: HTTPStatus, reason: str) -> VdsmError:
        options: RestOptions = self.config
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return problems.BodyTooLarge(limit=options.max_body)
        if status == HTTPStatus.REQUEST_URI_TOO_LONG:
            return problems.UriTooLong(limit=options.max_header)
        if status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            return problems.HeaderTooLarge(limit=options.max_header)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            return Unavailable(reason=reason)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            return UnexpectedError(verb="The request", incident=reason.rpartition(" ")[2])
        return problems.MalformedRequest(reason=reason)


def claims(method: str, path: str) -> bool:
    """Return whether a request is for this site, where another one is served on the same address."""
    return path == ROOT or path.startswith(f"{ROOT}/") or (path == "/" and method in {"GET", "HEAD"})
