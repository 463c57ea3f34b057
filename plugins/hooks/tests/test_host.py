"""The plugin in a host, and the privileged operation."""

from __future__ import annotations

import os
import zlib
from types import SimpleNamespace

import pytest

from vdsm_bridge.testing.privileged import InProcess
from vdsm_core.errors import ConfigError, InvalidArgument, OperationFailed
from vdsm_core.hooks.specs.host import vdsm_after_get_caps
from vdsm_core.hooks.specs.vm import vdsm_before_vm_destroy, vdsm_check_custom_properties
from vdsm_hooks import environment, privileged
from vdsm_hooks.errors import BadCustomProperty, HookScriptFailed
from vdsm_hooks.executors import ByHelper
from vdsm_hooks.feature import HookScripts
from vdsm_hooks.provider import ScriptHooks
from vdsm_hooks.run.execution import Script

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="the helper is root's")


@pytest.fixture
def host_with(make_vdsm_host, site):
    """A function that starts a host with options of the plugin."""

    def make(**options):
        table = {"folder": str(site.root), "as_daemon": True, **options}
        return make_vdsm_host(
            verbs={"hooks": HookScripts}, hooks={"hooks": ScriptHooks}, config={"plugin": {"hooks": table}}
        )

    return make


def test_scripts_are_capabilities_at_once(host_with, site):
    """Added and removed without a restart, with checksums; a point without scripts calls nothing."""
    hooks = host_with().host.runtime.hooks
    assert hooks.run(vdsm_after_get_caps, {}) == {"hooks": {}}
    assert not hooks.implemented(vdsm_before_vm_destroy)
    path = site.script("before_vm_destroy", "50_x", "true")
    assert hooks.implemented(vdsm_before_vm_destroy)
    (found,) = hooks.run(vdsm_after_get_caps, {})["hooks"]["before_vm_destroy"].items()
    assert (found[0], len(found[1]["checksum"])) == ("50_x", 64)
    path.unlink()
    assert hooks.run(vdsm_after_get_caps, {}) == {"hooks": {}}


def test_runs_are_a_verb(host_with, site):
    """Whatever the outcome; a daemon of root's runs no script without the helper, and records why."""
    host = host_with()
    site.script("before_vm_destroy", "50_x", "true")
    host.host.runtime.hooks.run(vdsm_before_vm_destroy, "v", {})
    (run,) = host.call("Host.getHookRuns", point="before_vm_destroy")
    refused = "hook scripts are not run as root" if os.geteuid() == 0 else ""
    assert (run.point, run.script, run.vm_id, run.error) == ("before_vm_destroy", "50_x", "v", refused)
    assert host.call("Host.getHookRuns", vmID="w") == []


def test_without_a_helper_scripts_are_refused_by_name(host_with, site):
    """The record has the reason."""
    host = host_with(as_daemon=False)
    site.script("before_vm_destroy", "50_x", "true")
    host.host.runtime.hooks.run(vdsm_before_vm_destroy, "v", {})
    (run,) = host.call("Host.getHookRuns")
    assert "privileged operation run_script" in run.error


def test_custom_properties(host_with):
    """Ill-formed ones are refused, VDSM's own are known, defined ones are kept."""
    hooks = host_with(vm_properties={"color": "^(red|blue)$"}).host.runtime.hooks
    kept = hooks.run(
        vdsm_check_custom_properties, {"vm": ["tags"], "device": []}, {"color": "red", "other": "x"}, {}
    )
    assert {"color", "tags", "viodiskcache"} <= set(kept["vm"])
    assert "queues" in kept["device"]
    for custom, devices in (({"color": "green"}, {}), ({"sndbuf": "x"}, {}), ({}, {"d": {"queues": "0"}})):
        with pytest.raises(BadCustomProperty, match="does not match"):
            hooks.run(vdsm_check_custom_properties, {"vm": [], "device": []}, custom, devices)


def test_undefined_properties_are_refused(host_with):
    """By the option."""
    hooks = host_with(undefined_properties="refuse").host.runtime.hooks
    with pytest.raises(BadCustomProperty, match=r"vmParams\.custom\.other"):
        hooks.run(vdsm_check_custom_properties, {"vm": [], "device": []}, {"other": "x"}, {})


@pytest.mark.parametrize(
    "name", ["PATH", "LD_PRELOAD", "PYTHONPATH", "BASH_ENV", "IFS", "PERL5LIB", "vmId", "a b"]
)
def test_names_that_are_read_cannot_be_defined(name):
    """By the loader, a shell, an interpreter, or as a variable of the call."""
    from vdsm_hooks.properties import Definitions  # noqa: PLC0415 - of this test alone

    with pytest.raises(ConfigError, match="vm_properties"):
        Definitions({name: "^x$"}, {}, refuse=False)


def _order(folder, **more):
    given = {"point": "before_vm_start", "script": "50_x", "environment": {"vmId": "v"}, "json": False}
    given |= {"document": zlib.compress(b"<x/>"), "flags": None, "seconds": 20.0, "folder": folder}
    return privileged.Order(**(given | more))


@as_root
def test_the_helper_runs_what_is_roots_own(open_folder):
    """As the account of its own configuration; not what others can change, nor what it does not name."""
    point = open_folder / "hooks" / "before_vm_start"
    point.mkdir(parents=True)
    script = point / "50_x"
    script.write_text("#!/bin/sh\nid -u >&2; id -G >&2; printf '<y/>' > $_hook_domxml\n")
    for path, mode in ((script, 0o755), (point, 0o755), (point.parent, 0o755)):
        path.chmod(mode)
    folder = str(point.parent)
    helper = InProcess("hooks", privileged, table={"folder": folder, "user": "nobody"})
    outcome = helper.run(privileged.run_script, _order(folder))
    assert (outcome.code, outcome.document, outcome.reason) == (0, b"<y/>", "")
    assert outcome.stderr.split()[0] == "65534"
    assert "0" not in outcome.stderr.split()
    with pytest.raises(OperationFailed, match="and not of /elsewhere"):
        helper.run(privileged.run_script, _order("/elsewhere"))
    with pytest.raises(OperationFailed, match="LD_PRELOAD is not given to a hook script"):
        helper.run(privileged.run_script, _order(folder, environment={"LD_PRELOAD": "/x"}))
    with pytest.raises(InvalidArgument):
        helper.run(privileged.run_script, _order(folder, script="../x"))
    for path in (script, point, point.parent):
        path.chmod(0o777)
        with pytest.raises(OperationFailed, match="is not root's alone to change"):
            helper.run(privileged.run_script, _order(folder))
        path.chmod(0o755)
    os.chown(script, 65_534, -1)
    with pytest.raises(OperationFailed, match="is not root's alone to change"):
        helper.run(privileged.run_script, _order(folder))
    # What the daemon passes is what the helper takes.
    given = {**environment.base(), "vmId": "v"}
    ordered = Script(
        path=script, environment=given, variable="_hook_domxml", document="<x/>", flags=None, seconds=20.0
    )
    os.chown(script, 0, -1)
    assert ByHelper(SimpleNamespace(privileged=helper), point.parent).run(ordered).document == b"<y/>"  # type: ignore[arg-type]
    root = InProcess("hooks", privileged, table={"folder": folder, "user": "root"})
    assert root.run(privileged.run_script, _order(folder)).reason == "hook scripts are not run as root"


def test_errors_have_their_facts():
    """The error names point and script."""
    error = HookScriptFailed(point="p", script="s", reason="r")
    assert str(error) == "Hook script p/s failed: r"
