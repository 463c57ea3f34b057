"""Plugins are enabled and disabled in a running daemon without any effect on others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import xmlrpc.client
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import soak
from tests.isolation.toggling import Daemon, Load, quantile
from vdsm_bridge.testing.polling import until

BIN = Path(sys.executable).parent
#: How many times a binding goes and comes.
TOGGLES = soak.count(5)


@pytest.mark.soak
def test_rest_does_not_notice_that_xmlrpc_goes_and_comes(running: Daemon) -> None:
    """Under load no call fails, waits noticeably or is cut, and nothing is left behind."""
    for on in (False, True):
        running.switch("xmlrpc", on=on)
    with Load(running) as quiet:
        time.sleep(1)
    with Load(running) as seen:
        for _ in range(TOGGLES):
            for on in (False, True):
                assert running.switch("xmlrpc", on=on).applied
                time.sleep(0.1)
    assert (seen.failed, seen.cut) == ([], []), seen.summary()
    assert seen.xmlrpc > 10, seen.summary()
    assert seen.refused > 0, seen.summary()
    # A machine that is busy with other things makes calls wait, too.
    assert quantile(seen.rest, 0.99) < max(1000, 10 * quantile(quiet.rest, 1.0)), (
        quiet.summary(),
        seen.summary(),
    )
    before = running.held()  # REST keeps the threads that the load has called for
    for on in (False, True) * 6:
        running.switch("xmlrpc", on=on)
    # Other parts take a thread more when the machine is busy; what is left behind is so each time.
    until(
        lambda: all(now <= then + 3 for now, then in zip(running.held(), before, strict=True)),
        every=0.1,
        detail=lambda: (before, running.held()),
    )


def listing(running: Daemon) -> dict[str, set[str]]:
    """The verbs of machines that each way to call offers."""
    document = running.rest("/api/openapi.json")["paths"]
    operations = [operation for item in document.values() for operation in item.values()]
    rest = {operation["x-vdsm-verb"] for operation in operations if "x-vdsm-verb" in operation}
    with xmlrpc.client.ServerProxy(running.xmlrpc()) as proxy:
        methods: Any = proxy.system.listMethods()
    # It sees another API with the first answer that it gets, and reads that then.
    shell(running, "host", "ping")
    completed = shell(running, "__complete", "bash", "vdsmsh v").split()
    return {
        "rest": {name for name in rest if name.startswith("VM.")},
        "schema": {verb["name"] for verb in running.rest("/api/host/verbs") if verb["name"][:3] == "VM."},
        "xmlrpc": {name for name in methods if name.startswith("VM.")},
        "legacy xmlrpc": set(methods) & {"pause", "destroy"},
        "vdsmsh": set(re.findall(r"^  vm +\w+", shell(running, "--help"), re.MULTILINE)),
        "completion": {word for word in completed if word.startswith("vm")},
    }


def shell(running: Daemon, *arguments: str) -> str:
    """What `vdsmsh` prints."""
    variables = {"VDSM_URL": f"unix://{running.folder}/api.sock", "XDG_CACHE_HOME": f"{running.folder}/cache"}
    command, environment = [BIN / "vdsmsh", *arguments], {**os.environ, **variables}
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
    before = running.plugins()
    file = running.folder / "conf.d" / "70-xmlrpc.toml"
    running.configure("virt", "enabled = false", file="65")
    running.configure("xmlrpc", "port = 'x'", file="70")
    outcome = running.reload()
    assert not outcome.applied
    assert outcome.reason == f"{file}: plugin.xmlrpc.port: expected a whole number, got text"
    assert running.plugins() == before
    file.unlink()
    assert running.reload().applied
    assert running.plugins()["virt"]["state"] == "disabled"


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


def test_a_distribution_comes_and_goes(running: Daemon) -> None:
    """Its verbs with it; another version of it is used from the next start, which is logged."""
    running.install("lamp", "vdsm.verbs", LAMP.format(lumen=1))
    with xmlrpc.client.ServerProxy(running.xmlrpc()) as proxy:
        shine = getattr(proxy, "Lantern.shine")
        with pytest.raises(xmlrpc.client.Fault):
            shine()
        running.reload()
        assert shine()["result"] == 1
        running.uninstall("lamp")
        running.reload()
        assert "lamp" not in running.plugins()
        with pytest.raises(xmlrpc.client.Fault):
            shine()
        running.install("lamp", "vdsm.verbs", LAMP.format(lumen=2), version="2.0")
        running.reload()
        assert shine()["result"] == 1
    assert running.plugins()["lamp"]["version"] == "1.0"
    assert "lamp 2.0 is installed; the code of version 1.0 stays in use" in running.log


def test_conflicts_name_both_with_their_versions(running: Daemon) -> None:
    """The first one serves on; the error of the second one names the verb and its plugin."""
    running.install("lamp", "vdsm.verbs", LAMP.format(lumen=1))
    running.install("lumen", "vdsm.verbs", LAMP.format(lumen=2), version="3.1")
    running.reload()
    found = running.plugins()
    assert found["lamp"]["state"] == "running"
    assert found["lumen"]["error"] == (
        "Lantern.shine is offered by the plugins 'lamp' (lamp 1.0) and 'lumen' (lumen 3.1)"
    )


def test_the_tool_switches_and_prints_the_outcome(running: Daemon) -> None:
    """It waits for the daemon and prints the outcome; a refusal is exit code 1."""
    (running.folder / "conf.d" / "50-xmlrpc.toml").rename(running.folder / "conf.d" / "10-xmlrpc.toml")
    off = running.tool("plugin", "disable", "xmlrpc")
    assert (off.returncode, off.stderr) == (0, "")
    assert "xmlrpc (vdsm.bindings): disabled" in off.stdout
    assert running.xmlrpc() == ""
    (line,) = (line for line in running.tool("plugin", "list").stdout.splitlines() if line[:6] == "xmlrpc")
    assert line.split()[-2:] == ["disabled", "disabled"]
    on = running.tool("plugin", "enable", "xmlrpc")
    (line,) = (line for line in running.tool("plugin", "list").stdout.splitlines() if line[:6] == "xmlrpc")
    assert line.split()[-2:] == ["enabled", "running"]
    assert f"xmlrpc (vdsm.bindings): running on {running.xmlrpc()}" in on.stdout
    assert "daemon:        running on http" in running.tool("plugin", "show", "xmlrpc").stdout
    (running.folder / "conf.d" / "70-bad.toml").write_text("[plugin.rest]\nport = -1\n")
    for command in (["plugin", "disable", "xmlrpc"], ["reload"]):
        refused = running.tool(*command)
        assert refused.returncode == 1
        assert "70-bad.toml: plugin.rest.port: expected" in refused.stderr
    assert running.xmlrpc() != ""


def test_new_options_of_a_feature_drop_no_call_of_it(running: Daemon) -> None:
    """It is replaced under load; calls of its verbs wait for that, and machines stay as they are."""
    machine = {"vmId": "00000000-0000-4000-8000-000000000001", "vmName": "m", "memSize": 16}
    with xmlrpc.client.ServerProxy(running.xmlrpc()) as proxy:
        made: Any = getattr(proxy, "VM.create")(machine)
        assert made["status"]["code"] == 0
    machines = running.rest("/api/vms")
    assert machine["vmId"] in [vm["vmId"] for vm in machines]
    with Load(running, clients=16, path="/api/vms") as seen:
        for seconds in range(1, 6):
            running.configure("virt", f"host_sample_interval = {seconds}.0")
            assert running.reload().applied
            shown = running.tool("plugin", "show", "virt").stdout
            assert f"host_sample_interval = {seconds}.0  # {running.folder}" in shown
    assert (seen.failed, seen.cut) == ([], []), seen.summary()
    assert len(seen.rest) > 16
    assert {vm["vmId"] for vm in running.rest("/api/vms")} == {vm["vmId"] for vm in machines}


def test_many_who_reload_at_once(running: Daemon) -> None:
    """Each gets the outcome of its own change; the last change counts."""

    def change(number: int) -> bool:
        running.configure(f"ghost{number}", "enabled = false")
        return running.reload().applied

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(change, range(32)))
    running.configure("virt", "enabled = 7")
    with ThreadPoolExecutor(8) as pool:
        reasons = {outcome.reason for outcome in pool.map(lambda _: running.reload(), range(8))}
    file = running.folder / "conf.d" / "50-virt.toml"
    assert reasons == {f"{file}: plugin.virt.enabled: expected true or false"}
    assert "Cannot reload the configuration" in running.log


def test_an_address_that_cannot_be_had(running: Daemon) -> None:
    """REST serves on where it did; the tool and the list of plugins say what is the matter."""
    running.configure("rest", 'address = "192.0.2.1"', file="70")  # TEST-NET-1 (RFC 5737), on no host
    reload = running.tool("reload")
    assert reload.returncode == 3
    assert "plugin rest (vdsm.bindings): running on unix:" in reload.stderr
    assert "it keeps running with its former options: Cannot listen on " in reload.stderr
    assert "192.0.2.1" in running.plugins()["rest"]["error"]
    running.configure("rest", "", file="70")
    assert running.tool("reload").returncode == 0
    assert running.plugins()["rest"]["error"] == ""
