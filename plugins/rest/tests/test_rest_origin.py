"""A page in an administrator's browser must not be able to use the administrator's access."""

from __future__ import annotations

from pathlib import Path

import pytest

from vdsm_http import ForeignHost, ForeignPage, OriginCheck, Peer, Request

from .conftest import Serve, Served
from .rest_client import RestClient

LOOPBACK = "127.0.0.1"


def asking(address: str, **headers: str) -> Request:
    """A request from an address, with these headers."""
    return Request("GET", "/api", headers=headers, peer=Peer(address))


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8088", "127.0.0.1:8088", "127.8.9.1", "[::1]:8088", "node7.example:1"]
)
def test_own_names(host: str) -> None:
    """Loopback addresses, `localhost` and configured names are this host's."""
    OriginCheck(["Node7.example"]).check(asking(LOOPBACK, host=host))


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8088", "", "10.0.0.1"]
)
def test_foreign_names(host: str) -> None:
    """A foreign name that was pointed at 127.0.0.1 is refused."""
    for address in (LOOPBACK, "::1", "::ffff:127.0.0.1"):
        with pytest.raises(ForeignHost):
            OriginCheck().check(asking(address, host=host))


def test_remote_callers_may_use_any_name() -> None:
    """Who comes from elsewhere needs credentials anyway, and uses whatever name leads here."""
    OriginCheck().check(asking("192.0.2.1", host="node7.example"))


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"origin": "https://localhost"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_foreign_pages(headers: dict[str, str]) -> None:
    """Pages of other sites are refused, those of other ports of this host included."""
    with pytest.raises(ForeignPage):
        OriginCheck().check(asking(LOOPBACK, host="localhost", **headers))


def test_over_http(served: Served, client: RestClient) -> None:
    """The own page is served, a link may lead to it, and a foreign page changes nothing."""
    own = {"Origin": f"http://127.0.0.1:{served.port}", "Sec-Fetch-Site": "same-origin"}
    assert client.request("POST", "/api/verbs/Host.ping", headers=own).status == 204
    assert client.get("/api/docs", Sec_Fetch_Site="cross-site").status == 200
    body = {"lampID": "33333333-3333-4333-8333-333333333333", "name": "evil"}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.request("POST", "/api/lamps", body, headers).status == 403
    assert client.request("POST", "/api/lamps", body, {"Host": "evil.example"}).status == 421
    assert client.request("POST", "/api/lamps", body, {"Content-Type": "text/plain"}).status == 415
    assert len(served.host.call("Lamp.list")) == 1
    assert client.get("/api")["Access-Control-Allow-Origin"] is None


def test_unix_socket_takes_any_name(serve: Serve, short_path: Path) -> None:
    """No browser reaches a unix socket, and clients make up the name."""
    served = serve(socket=str(short_path / "s"), address="")
    with RestClient(served.addresses[0]) as client:
        assert client.request("GET", "/api/host/ping", headers={"Host": "whatever"}).status == 204
