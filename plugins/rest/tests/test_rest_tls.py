"""REST over TLS: a certificate is who calls, in access and in the audit log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.certificates import ClientFiles, TestPki
from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.tokens import TOKENS, write_tokens
from vdsm_core.plugins import BINDINGS, discover
from vdsm_rest import RestBinding

from .conftest import LAMP
from .rest_client import RestClient

ACCESS = {"loopback": "none", "certificates": {"CN=engine": "operator", "DNS:eye.example.org": "monitor"}}
SWITCH = ("Lamp.switch", {"lampID": LAMP, "lit": True})


@pytest.fixture
def pki(tmp_path: Path) -> TestPki:
    """A CA, and the files of the host."""
    return TestPki(tmp_path / "pki")


@pytest.fixture
def host(tmp_path: Path, pki: TestPki) -> Iterator[TestHost]:
    """A host that serves REST over TLS only."""
    others = {plugin.name: {"enabled": False} for plugin in discover(BINDINGS)}
    config = {
        "plugin": {**others, "rest": {"port": 0, "tls": "required"}},
        "access": {"tokens": str(write_tokens(tmp_path)), **ACCESS},
        "audit": {"file": str(tmp_path / "audit.log")},
        "tls": pki.options,
    }
    with TestHost(bindings={"rest": RestBinding}, config=config) as host:
        host.call("Lamp.create", lamp={"lampID": LAMP, "name": "first"})
        yield host


Connect = Callable[[ClientFiles | None], RestClient]


@pytest.fixture
def connect(host: TestHost, pki: TestPki) -> Iterator[Connect]:
    """A function that makes clients."""
    made: list[RestClient] = []

    def start(client: ClientFiles | None) -> RestClient:
        made.append(RestClient(info(host).address[0], context=pki.context(client)))
        return made[-1]

    yield start
    for each in made:
        each.close()


def info(host: TestHost) -> Any:
    """What `Host.getPlugins` returns of the binding."""
    (found,) = (plugin for plugin in host.call("Host.getPlugins") if plugin.name == "rest")
    return found


def test_a_certificate_has_a_role(connect: Connect, pki: TestPki, tmp_path: Path) -> None:
    """By its common name or an alternative name; the audit log has both the name and how it is known."""
    engine = connect(pki.client("engine"))
    engine.call(*SWITCH)
    eye = connect(pki.client("eye", names=["eye.example.org"]))
    assert eye.call("Lamp.getInfo", {"lampID": LAMP})["lit"] is True
    for client, status in ((eye, 403), (connect(pki.client("stranger")), 401), (connect(None), 401)):
        assert client.post(f"/api/verbs/{SWITCH[0]}", SWITCH[1]).status == status
    done = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [(line["who"], line["how"]) for line in done if line["outcome"] == "done"][-1:] == [
        ("CN=engine", "certificate")
    ]
    assert [(line["who"], line["role"]) for line in done if line["outcome"] == "forbidden"] == [
        ("DNS:eye.example.org", "monitor")
    ]


def test_headers_are_no_certificate(connect: Connect) -> None:
    """What a proxy would write of its client proves nothing."""
    anonymous = connect(None)
    for header in ("X-SSL-Client-S-DN", "SSL_CLIENT_S_DN", "X-Client-Cert", "X-Forwarded-Client-Cert"):
        assert anonymous.request("GET", f"/api/lamps/{LAMP}", None, {header: "CN=engine"}).status == 401


def test_a_token_goes_before_a_certificate(connect: Connect, pki: TestPki) -> None:
    """Who shows a token is who it names, with a certificate or without one."""
    for client in (None, pki.client("eye", names=["eye.example.org"])):
        assert connect(client).call(*SWITCH, token=TOKENS["operator"])["lit"] is True


def test_a_role_that_is_withdrawn(connect: Connect, host: TestHost, pki: TestPki) -> None:
    """A reload takes effect on connections that are open."""
    engine = connect(pki.client("engine"))
    engine.call(*SWITCH)
    config = host.host.config
    access = msgspec.structs.replace(config.access, certificates={})
    host.host.reload(msgspec.structs.replace(config, access=access))
    answer = engine.post(f"/api/verbs/{SWITCH[0]}", SWITCH[1])
    assert (answer.status, "the certificate of 'engine' has no role" in answer.json["detail"]) == (401, True)


def test_the_state_of_the_certificate(connect: Connect, host: TestHost, pki: TestPki) -> None:
    """`Host.getPlugins` shows what is wrong with the files, while the earlier ones serve; a reload looks."""
    engine = connect(pki.client("engine"))
    assert info(host).error == ""
    pki.key.write_text("no key")
    host.host.reload(host.host.config)
    until(lambda: "vdsmkey.pem: it is not usable as PEM" in info(host).error)
    assert info(host).error.startswith("degraded: Cannot use the certificate of this host")
    assert info(host).state == "running"
    engine.call(*SWITCH)
    connect(pki.client("engine")).call(*SWITCH)
    pki.renew(days=10)
    until(lambda: "expires on" in info(host).error)
    pki.renew()
    until(lambda: info(host).error == "")


def test_options_of_tls_are_reloaded(connect: Connect, host: TestHost, pki: TestPki, tmp_path: Path) -> None:
    """Other files in `[tls]` are used after a reload, without a restart of the binding."""
    engine = connect(pki.client("engine"))
    engine.call(*SWITCH)
    other = TestPki(tmp_path / "other")
    config = host.host.config
    changed = msgspec.structs.replace(config, tls=other.tls_options())
    assert host.host.reload(changed) == []
    with RestClient(info(host).address[0], context=other.context(other.client("engine"))) as client:
        until(lambda: accepted(client))
        client.call(*SWITCH)
    engine.call(*SWITCH)


def accepted(client: RestClient) -> bool:
    """Whether a client trusts the certificate that it is shown."""
    try:
        return client.get("/api/openapi.json").status in {200, 401}
    except OSError:
        return False


def test_pages_over_tls(connect: Connect, pki: TestPki, host: TestHost) -> None:
    """A page of this service may call it; one that came over plain HTTP may not."""
    engine, port = connect(pki.client("engine")), int(info(host).address[0].rpartition(":")[2])
    for scheme, status in (("https", 200), ("http", 403)):
        headers = {"Origin": f"{scheme}://127.0.0.1:{port}", "Host": f"127.0.0.1:{port}"}
        assert engine.request("GET", f"/api/lamps/{LAMP}", None, headers).status == status


def test_a_host_without_a_certificate(pki: TestPki, tmp_path: Path) -> None:
    """The plugin says what is missing and what makes it, and serves on its unix socket; TLS begins later."""
    pki.certificate.unlink()
    path = str(tmp_path / "s")
    config = {"plugin": {"rest": {"port": 0, "tls": "required", "socket": path}}, "tls": pki.options}
    with TestHost(bindings={"rest": RestBinding}, config=config) as host:
        assert info(host).state == "running"
        assert list(info(host).address) == [f"unix:{path}"]
        assert "vdsmcert.pem: No such file or directory; `vdsm-tool pki init` makes one" in info(host).error
        with RestClient(f"unix:{path}") as client:
            assert client.get("/api/openapi.json").status == 200
        pki.renew()
        until(lambda: len(info(host).address) == 2)
        assert info(host).error == ""
        with RestClient(info(host).address[1], context=pki.context()) as client:
            assert client.get("/api/openapi.json").status == 200
