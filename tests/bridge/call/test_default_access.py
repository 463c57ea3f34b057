"""Who gets in by default, over every TCP binding that is installed."""

from __future__ import annotations

import http.client
import xmlrpc.client
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from vdsm_bridge import is_loopback
from vdsm_bridge.testing import TestHost
from vdsm_bridge.tool import installed
from vdsm_core import config as configuration
from vdsm_core.config import AccessOptions
from vdsm_core.plugins import BINDINGS

ROOT = Path(__file__).parents[3]


def test_the_packaged_default_is_shut() -> None:
    """Neither the option's default nor a file of the packages opens loopback TCP."""
    assert AccessOptions().loopback == "none"
    for file in (ROOT / "packaging" / "etc").glob("*.toml"):
        assert configuration.load(file).access.loopback == "none"


def test_a_loopback_caller_without_token_is_refused() -> None:
    """REST answers 401 to a document with QEMU arguments, XML-RPC refuses, and no verb has run."""
    config = {"access": {"loopback": AccessOptions().loopback}, "plugin": {"rest": {"port": 0}}}
    config["plugin"]["xmlrpc"] = {"port": 0}  # type: ignore[assignment]
    config["plugin"]["qmf"] = {"enabled": False}  # type: ignore[assignment]
    with TestHost(installed=True, config=config) as host:
        where = {plugin.name: plugin.address[0] for plugin in host.host.plugins() if plugin.address}
        if not {"rest", "xmlrpc"} <= where.keys():
            pytest.skip("rest and xmlrpc are not both installed")
        body = '{"xml": "<domain xmlns:qemu=\\"http://libvirt.org/schemas/domain/qemu/1.0\\"/>"}'
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(where["rest"]).port or 0, timeout=20)
        connection.request("POST", "/api/vms", body, {"Content-Type": "application/json"})
        assert connection.getresponse().status == 401
        connection.close()
        with xmlrpc.client.ServerProxy(where["xmlrpc"]) as proxy:
            reply = proxy.create(
                {"vmId": "11111111-2222-4333-8444-555555555555", "vmName": "a", "memSize": 64}
            )
            assert isinstance(reply, dict)
            assert reply["status"]["code"] != 0
            assert "needs credentials" in reply["status"]["message"]


def test_make_run_opens_loopback_for_the_embedded_hypervisor_only() -> None:
    """The script decides by the URI."""
    text = (ROOT / "scripts" / "run").read_text()
    assert "loopback=none\n[[ $uri == test:* ]] && loopback=admin\n" in text


def test_the_packaged_daemons_user_is_nobody() -> None:
    """The configuration of the packages states it, whichever user the unit names."""
    assert configuration.load(ROOT / "packaging" / "etc" / "vdsm.toml").access.own_user == "none"


def test_a_fresh_install_listens_on_loopback_only() -> None:
    """By the defaults of every binding that is installed, and by the files of the packages."""
    files = sorted((ROOT / "packaging" / "etc").glob("*.toml"))
    packaged = configuration.merge([(file.name, configuration.read(file)) for file in files])
    found = installed.read()
    bindings = {plugin.name for plugin in found.plugins if plugin.group == BINDINGS}
    assert {"rest", "xmlrpc"} <= bindings
    for name in bindings:
        options = packaged.options(name, found.options[name])
        if (address := getattr(options, "address", None)) is not None:
            several = [address] if isinstance(address, str) else address
            assert all(is_loopback(one) for one in several), name
    assert packaged.options("rest", found.options["rest"]).socket == "/run/vdsm/api.sock"
