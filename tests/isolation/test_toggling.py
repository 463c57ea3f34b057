"""Plugins go up and down in a running daemon, and nobody else notices."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.isolation.toggling import Daemon, Load, daemon, quantile

BIN = Path(sys.executable).parent


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with REST and XML-RPC that looks for plugins in a folder of the test's, too."""
    (tmp_path / "late").mkdir()
    path = os.pathsep.join(filter(None, [str(tmp_path / "late"), os.environ.get("PYTHONPATH", "")]))
    with daemon(tmp_path / "etc", grace=1.0, PYTHONPATH=path) as made:
        yield made


Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Put a distribution where the daemon looks, as an installer would."""

    def put(name: str, group: str, code: str, *, version: str = "1.0") -> None:
        info = tmp_path / "late" / f"{name}-{version}.dist-info"
        (tmp_path / "late" / f"{name}.py").write_text(code)
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}:Plugin\n")

    return put


def plugins(running: Daemon) -> dict[str, dict[str, Any]]:
    """What `Host.getPlugins` tells, by name."""
    return {plugin["name"]: plugin for plugin in running.rest("/api/host/plugins")}


def test_rest_does_not_notice_that_xmlrpc_goes_and_comes(running: Daemon) -> None:
    """Under load no call fails, waits noticeably or is cut, and nothing is left behind."""
    for on in (False, True):
        running.switch("xmlrpc", on=on)
    with Load(running) as seen:
        time.sleep(1)
        for _ in range(5):
            for on in (False, True):
                assert running.switch("xmlrpc", on=on).applied
                time.sleep(0.1)
    assert (seen.failed, seen.cut) == ([], []), seen.told()
    assert seen.xmlrpc > 10, seen.told()
    assert seen.refused > 0, seen.told()
    assert quantile(seen.rest, 1.0) < 1000, seen.told()
    before = running.held()  # REST keeps the threads that the load has called for
    for on in (False, True) * 3:
        running.switch("xmlrpc", on=on)
    end = time.monotonic() + 10
    while running.held() > before:
        assert time.monotonic() < end, (before, running.held())
        time.sleep(0.1)


def listing(running: Daemon) -> dict[str, set[str]]:
    """The verbs of machines that each way to call offers."""
    document = running.rest("/api/openapi.json")["paths"]
    operations = [operation for item in document.values() for operation in item.values()]
    rest = {operation["x-vdsm-verb"] for operation in operations if "x-vdsm-verb" in operation}
    with xmlrpc.client.ServerProxy(running.xmlrpc()) as proxy:
        methods: Any = proxy.system.listMethods()
    # It sees another API with the first answer that it gets, and reads that then.
    shell(running, "host", "ping")
    return {
        "rest": {name for name in rest if name.startswith("VM.")},
        "schema": {verb["name"] for verb in running.rest("/api/host/verbs") if verb["name"][:3] == "VM."},
        "xmlrpc": {name for name in methods if name.startswith("VM.")},
        "legacy xmlrpc": set(methods) & {"pause", "destroy"},
        "vdsmsh": set(re.findall(r"^  vm +\w+", shell(running, "--help"), re.MULTILINE)),
    }


def shell(running: Daemon, *arguments: str) -> str:
    """What `vdsmsh` prints."""
    socket = f"unix://{running.folder}/api.sock"
    command = [BIN / "vdsmsh", "--url", socket, *arguments]
    environment = {**os.environ, "XDG_CACHE_HOME": str(running.folder / "cache")}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def test_a_feature_takes_its_verbs_along(running: Daemon) -> None:
    """Off, they are in no binding, no schema and no command; on again, all are back."""
    before = listing(running)
    assert all(before.values()), before
    assert running.switch("virt", on=False).applied
    assert not any(listing(running).values())
    assert running.switch("virt", on=True).applied
    assert listing(running) == before


def test_a_bad_configuration_changes_nothing(running: Daemon) -> None:
    """The outcome names file, key and reason; what ran, runs; a later good one is applied."""
    before = plugins(running)
    file = running.folder / "conf.d" / "70-xmlrpc.toml"
    running.configure("virt", "enabled = false", file="65")
    running.configure("xmlrpc", "port = 'x'", file="70")
    outcome = running.reload()
    assert not outcome.applied
    assert outcome.reason == f"{file}: plugin.xmlrpc.port: expected a whole number, got text"
    assert plugins(running) == before
    file.unlink()
    assert running.reload().applied
    assert plugins(running)["virt"]["state"] == "disabled"


HANGS = """
import time
from vdsm_bridge import Binding

class Plugin(Binding):
    def start(self):
        {start}
    def stop(self, grace):
        {stop}
    address = ("lamp://",)
"""


@pytest.mark.parametrize(
    ("code", "state", "said"),
    [
        (HANGS.format(start="time.sleep(60)", stop="pass"), "failed", "did not come to its end within 1.0 s"),
        (HANGS.format(start="1 / 0", stop="pass"), "failed", "ZeroDivisionError: division by zero"),
        (
            HANGS.format(start="while True: pass", stop="pass"),
            "failed",
            "did not come to its end within 1.0 s",
        ),
        (HANGS.format(start="pass", stop="time.sleep(60)"), "running", ""),
        ("class Plugin: plugin_api = 2", "failed", "made for version 2 of the plugin API"),
        ("import nowhere", "failed", "No module named 'nowhere'"),
    ],
    ids=["hangs", "raises", "loops", "hangs at its end", "other version", "broken"],
)
def test_a_plugin_that_arrives_in_trouble(
    running: Daemon, install: Install, code: str, state: str, said: str
) -> None:
    """It is found at the reload; its trouble is bounded, shown and published; all others serve on."""
    others = plugins(running)
    install("lamp", "vdsm.bindings", code)
    with Load(running, clients=4) as seen:
        outcome = running.reload()
        assert outcome.applied
        lamp = plugins(running)["lamp"]
        assert (lamp["state"], lamp["version"]) == (state, "1.0")
        assert said in lamp["error"]
        running.switch("lamp", on=False)
        states = [event["params"] for event in events(running) if event["id"] == "|host|plugin|lamp"]
    assert states[0] == {"group": "vdsm.bindings", "state": state, "error": lamp["error"]}
    assert (seen.failed, seen.cut) == ([], []), seen.told()
    assert {name: info for name, info in plugins(running).items() if name != "lamp"} == others


def events(running: Daemon) -> list[dict[str, Any]]:
    """What has happened since the start."""
    with xmlrpc.client.ServerProxy(running.xmlrpc()) as proxy:
        subscription: Any = getattr(proxy, "Events.subscribe")("|host|*", 0)
        new: Any = getattr(proxy, "Events.next")(subscription["result"]["subscriptionID"], 1.0)
    return list(new["result"])


LAMP = """
from vdsm_bridge import Feature, Namespace, query

class Lantern(Namespace):
    '''A lamp.'''
    @query(since="1.0")
    def shine(self) -> int:
        '''Shine.'''
        return {lumen}

class Plugin(Feature):
    def namespaces(self):
        return [Lantern()]
"""


def test_a_distribution_comes_and_goes(running: Daemon, install: Install, tmp_path: Path) -> None:
    """Its verbs with it; another version of it comes into force at the next start, and the log says so."""
    install("lamp", "vdsm.verbs", LAMP.format(lumen=1))
    with xmlrpc.client.ServerProxy(running.xmlrpc()) as proxy:
        shine = getattr(proxy, "Lantern.shine")
        with pytest.raises(xmlrpc.client.Fault):
            shine()
        running.reload()
        assert shine()["result"] == 1
        shutil.rmtree(tmp_path / "late" / "lamp-1.0.dist-info")
        running.reload()
        assert "lamp" not in plugins(running)
        with pytest.raises(xmlrpc.client.Fault):
            shine()
        install("lamp", "vdsm.verbs", LAMP.format(lumen=2), version="2.0")
        running.reload()
        assert shine()["result"] == 1
    assert plugins(running)["lamp"]["version"] == "1.0"
    assert "lamp 2.0 is installed; the code of version 1.0 stays in use" in running.log


def test_conflicts_name_both_with_their_versions(running: Daemon, install: Install) -> None:
    """The first one serves on; the second one tells whose verb it would take."""
    install("lamp", "vdsm.verbs", LAMP.format(lumen=1))
    install("lumen", "vdsm.verbs", LAMP.format(lumen=2), version="3.1")
    running.reload()
    found = plugins(running)
    assert found["lamp"]["state"] == "running"
    assert found["lumen"]["error"] == (
        "Lantern.shine is offered by the plugins 'lamp' (lamp 1.0) and 'lumen' (lumen 3.1)"
    )


def tool(running: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `vdsm-tool`."""
    command = [sys.executable, "-m", "vdsm_bridge.tool", *arguments, "--config", str(running.folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_tool_switches_and_tells_the_outcome(running: Daemon) -> None:
    """It waits until the daemon has done it, and says what it did; a refusal is exit code 1."""
    (running.folder / "conf.d" / "50-xmlrpc.toml").rename(running.folder / "conf.d" / "10-xmlrpc.toml")
    off = tool(running, "plugin", "disable", "xmlrpc")
    assert (off.returncode, off.stderr) == (0, "")
    assert "xmlrpc (vdsm.bindings): disabled" in off.stdout
    assert running.xmlrpc() == ""
    on = tool(running, "plugin", "enable", "xmlrpc")
    assert f"xmlrpc (vdsm.bindings): running on {running.xmlrpc()}" in on.stdout
    assert "daemon:        running on http" in tool(running, "plugin", "show", "xmlrpc").stdout
    (running.folder / "conf.d" / "70-bad.toml").write_text("[plugin.rest]\nport = -1\n")
    for command in (["plugin", "disable", "xmlrpc"], ["reload"]):
        refused = tool(running, *command)
        assert refused.returncode == 1
        assert "70-bad.toml: plugin.rest.port: expected" in refused.stderr
    assert running.xmlrpc() != ""
