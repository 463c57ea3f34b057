"""Plugins that hang, raise or loop do not affect others."""

from __future__ import annotations

import signal
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

import pytest

from tests.isolation.toggling import Daemon, Load

CODE = """
import sys, time
from vdsm_bridge import Binding, Feature

def nothing():
    pass

def hang():
    print("now it hangs", file=sys.stderr, flush=True)
    time.sleep(600)

def loop():
    while True:
        pass

def fail():
    raise RuntimeError("broken on purpose")

def leave():
    sys.exit(1)

class Plugin({kind}):
    address = ("lamp://here",)

    def namespaces(self):
        return []

    def start(self):
        {start}()

    def stop(self, grace):
        {stop}()
"""
MISFIT = """
from vdsm_core.hooks import hookimpl

class Plugin:
    @hookimpl
    def vdsm_after_vm_pause(vm_id, colour):
        pass
"""
KINDS = {"Feature": "vdsm.verbs", "Binding": "vdsm.bindings"}
#: What it does -> what is reported about its start, and about its stop.
TROUBLE = {
    "hang": ("did not finish within 5.0 s", "did not finish within 1.2 s"),
    "loop": ("did not finish within 5.0 s", "did not finish within 1.2 s"),
    "fail": ("RuntimeError: broken on purpose",) * 2,
    "leave": ("RuntimeError: SystemExit: 1",) * 2,
}


def name(kind: str, moment: str, trouble: str) -> str:
    """Of a plugin."""
    return f"{kind}_{moment}_{trouble}".lower()


def states(running: Daemon) -> dict[str, list[tuple[str, str]]]:
    """What has been published of plugins so far, by name."""
    with xmlrpc.client.ServerProxy(running.xmlrpc()) as proxy:
        subscription: Any = getattr(proxy, "Events.subscribe")("|host|plugin|*", 0)
        events: Any = getattr(proxy, "Events.next")(subscription["result"]["subscriptionID"], 1.0)
    states: dict[str, list[tuple[str, str]]] = {}
    for event in events["result"]:
        plugin, params = event["id"].rpartition("|")[2], event["params"]
        states.setdefault(plugin, []).append((params["state"], params["error"]))
    return states


def test_every_trouble_at_once(running: Daemon) -> None:
    """Each is bounded, shown and published, when it comes and when it goes; all others serve on."""
    others = running.plugins()
    for kind, group in KINDS.items():
        for trouble in TROUBLE:
            for moment in ("start", "stop"):
                code = {"kind": kind, "start": "nothing", "stop": "nothing", moment: trouble}
                running.install(name(kind, moment, trouble), group, CODE.format(**code))
    running.install("misfit", "vdsm.hooks", MISFIT)
    with Load(running, clients=4) as seen:
        assert running.reload().applied
        came = running.plugins()
        for made in came.keys() - others.keys():
            running.configure(made, "enabled = false", file="60")
        assert running.reload().applied
        went = running.plugins()
        listed = running.tool("plugin", "list")
    assert listed.returncode == 3
    for line in listed.stdout.splitlines():
        if line.startswith("feature_stop_fail"):
            assert line.endswith("disabled: RuntimeError: broken on purpose")
    assert (seen.failed, seen.cut) == ([], []), seen.summary()
    events = states(running)
    for kind in KINDS:
        for trouble, (starting, stopping) in TROUBLE.items():
            failed, well = (came[name(kind, moment, trouble)] for moment in ("start", "stop"))
            assert (failed["state"], well["state"]) == ("failed", "running")
            assert starting in failed["error"]
            assert ("failed", failed["error"]) in events[failed["name"]]
            off, unclean = (went[name(kind, moment, trouble)] for moment in ("start", "stop"))
            assert (off["state"], off["error"], unclean["state"]) == ("disabled", "", "disabled")
            assert stopping in unclean["error"]
            assert ("stopped", unclean["error"]) in events[unclean["name"]]
            assert ("disabled", unclean["error"]) in events[unclean["name"]]
    assert (came["misfit"]["state"], went["misfit"]["state"]) == ("failed", "disabled")
    assert "colour" in came["misfit"]["error"]
    assert {plugin: info for plugin, info in running.plugins().items() if plugin in others} == others
    # Two kinds loop in their start, and two in their stop.
    running.wait_for(lambda: running.log.count("computed without end; it was interrupted") == 4)


@pytest.mark.parametrize("moment", ["start", "reload"])
def test_the_end_waits_for_no_start(tmp_path: Path, moment: str) -> None:
    """A plugin that hangs in its start does not keep a daemon from its end, however long it may take."""
    daemon = Daemon(tmp_path / "etc", grace=60.0)
    code = CODE.format(kind="Feature", start="hang", stop="nothing")
    if moment == "start":
        daemon.install("lamp", "vdsm.verbs", code)
    daemon.start()
    try:
        if moment == "reload":
            daemon.wait_until_reported()
            daemon.install("lamp", "vdsm.verbs", code)
            daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for(lambda: "now it hangs" in daemon.log)
        began = time.monotonic()
        daemon.process.terminate()
        assert daemon.process.wait(30) == 0, daemon.log
        assert time.monotonic() - began < 20
    finally:
        daemon.stop()
    # The mark that machines were started in this boot of the host stays.
    assert {path.name for path in (daemon.folder / "run").iterdir()} <= {"autostart.boot"}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class Plugin: plugin_api = 2", "it is made for version 2 of the plugin API, and this is version 1"),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
    ids=["other version", "broken", "leaves"],
)
def test_a_plugin_that_cannot_be_used(running: Daemon, code: str, message: str) -> None:
    """It is found at the reload, and listed with its reason and its version."""
    running.install("lamp", "vdsm.bindings", code, version="2.5")
    outcome = running.reload()
    assert outcome.applied
    lamp = running.plugins()["lamp"]
    assert (lamp["state"], lamp["version"]) == ("failed", "2.5")
    assert message in lamp["error"]
    assert states(running)["lamp"] == [("failed", lamp["error"])]
