"""XML-RPC over TLS, as VDSM spoke it: certificates on both sides."""

from __future__ import annotations

import json
import ssl
import xmlrpc.client
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.certificates import TestPki
from vdsm_core.plugins import BINDINGS, discover
from vdsm_xmlrpc import XmlRpcBinding

from .conftest import LAMP


@pytest.fixture
def pki(tmp_path: Path) -> TestPki:
    """A CA, and the files of the host."""
    return TestPki(tmp_path / "pki")


@pytest.fixture
def url(tmp_path: Path, pki: TestPki) -> Iterator[str]:
    """Where a host serves XML-RPC, over TLS and plainly."""
    others = {plugin.name: {"enabled": False} for plugin in discover(BINDINGS)}
    config = {
        "plugin": {**others, "xmlrpc": {"port": 0, "tls": "optional"}},
        "access": {"loopback": "none", "certificates": {"CN=engine": "operator"}},
        "audit": {"file": str(tmp_path / "audit.log")},
        "tls": pki.options,
    }
    with TestHost(bindings={"xmlrpc": XmlRpcBinding}, config=config) as host:
        host.call("Lamp.create", lamp={"lampID": LAMP, "name": "first"})
        (info,) = (plugin for plugin in host.host.plugins() if plugin.name == "xmlrpc")
        plain, secured = info.address
        assert plain.startswith("http://")
        yield secured


def test_a_client_of_vdsm(url: str, pki: TestPki, tmp_path: Path) -> None:
    """VDSM's clients check the CA but no host name, and show the certificate of the engine."""
    engine, stranger = (pki.client(name) for name in ("engine", "stranger"))
    with ExitStack() as stack:

        def proxy(context: ssl.SSLContext) -> xmlrpc.client.ServerProxy:
            context.check_hostname = False
            return stack.enter_context(xmlrpc.client.ServerProxy(url, context=context))

        known = proxy(pki.context(engine))
        assert known.Lamp.switch(LAMP, True)["status"]["code"] == 0
        for context in (pki.context(stranger), pki.context()):
            status = proxy(context).Lamp.switch(LAMP, True)["status"]
            assert status["slug"] == "unauthenticated"
        plain = stack.enter_context(xmlrpc.client.ServerProxy(url.replace("https", "http")))
        assert plain.Lamp.switch(LAMP, True)["status"]["slug"] == "unauthenticated"
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    done = [(line["who"], line["how"], line["role"]) for line in lines if line["outcome"] == "done"]
    assert done[-1] == ("CN=engine", "certificate", "operator")
