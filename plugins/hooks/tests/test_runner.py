"""Scripts of a point: order, environment, exit codes, documents."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring, tostring

import pytest

from vdsm_hooks.errors import HookScriptFailed

APPEND = 'printf %s "<x>{}</x>" > "$_hook_domxml"'
VM = "c0ffee00-0000-4000-8000-000000000042"


def test_scripts_run_in_the_order_of_their_names(site):
    """Each sees what those before it have left; the caller gets the last document."""
    add = """sed -i 's|</x>|{}</x>|' "$_hook_domxml" """
    for name in ("50_b", "10_a", "90_c"):
        site.script("before_vm_start", name, add.format(name[-1]))
    site.script("before_vm_start", ".hidden", add.format("hidden"))
    site.script("before_vm_start", "20_off", add.format("off"), mode=0o644)
    (site.root / "before_vm_start" / "30_folder").mkdir()
    document = fromstring("<x></x>")
    document.text = "."
    site.run("before_vm_start", document, vm_id=VM)
    assert document.text == ".abc"
    assert [run.script for run in reversed(site.journal.runs("", VM, 9))] == ["10_a", "50_b", "90_c"]


def test_the_environment_is_clean(site, monkeypatch):
    """Nothing of the daemon's; VM properties win over those of the device; undefined ones are not passed."""
    monkeypatch.setenv("DAEMON_SECRET", "x")
    site.script("before_nic_hotplug", "a", "env >&2; cat $_hook_domxml >&2")
    custom = {"color": "red", "viodiskcache": "none", "undefined": "u"}
    device = {"port": "7", "queues": "4", "color": "blue"}
    site.run("before_nic_hotplug", fromstring("<interface/>"), vm_id=VM, custom=custom, device_custom=device)
    lines = site.last().stderr.splitlines()
    found = dict(line.partition("=")[::2] for line in lines)
    assert {
        "vmId": VM,
        "color": "red",
        "viodiskcache": "none",
        "port": "7",
        "queues": "4",
    }.items() <= found.items()
    assert not {"DAEMON_SECRET", "undefined", "_hook_json"} & set(found)
    assert found["PYTHONPATH"].startswith(":/")
    assert lines[-2:] == ["<?xml version='1.0' encoding='utf-8'?>", "<interface />"]


@pytest.mark.parametrize(
    ("first", "runs", "reason"),
    [
        ("exit 0", 2, ""),
        ("echo why >&2; exit 1", 2, "a failed: it ended with code 1: why"),
        ("exit 2", 1, "a failed: it ended with code 2"),
        ("exit 7", 2, "a failed: it ended with code 7"),
        ("kill -9 $$", 2, "a failed: it was ended by signal 9"),
    ],
)
def test_exit_codes(site, first, runs, reason):
    """1 and others fail, and later scripts run; 2 fails, and they do not. Edits are lost on a failure."""
    site.script("before_vm_start", "a", f"printf '<x>edited</x>' > $_hook_domxml; {first}")
    site.script("before_vm_start", "b", "true")
    document = fromstring("<x/>")
    if reason:
        with pytest.raises(HookScriptFailed, match=reason):
            site.run("before_vm_start", document, vm_id=VM)
        assert document.text is None
    else:
        site.run("before_vm_start", document, vm_id=VM)
        assert document.text == "edited"
    assert len(site.journal.runs("", "", 9)) == runs


@pytest.mark.parametrize(
    ("point", "text", "reason"),
    [
        ("before_vm_start", "<x>", "no well-formed XML"),
        ("before_vm_start", "<y/>", "whose root is not <x>"),
        ("before_vm_start", "<!DOCTYPE x []><x/>", "a DTD or entities"),
        ("before_vm_start", "", "no well-formed XML"),
        ("after_get_caps", "{", "no JSON"),
        ("after_get_caps", "[]", "a JSON value of another type"),
        ("after_get_caps", '{"a": NaN}', "NaN is no number"),
        ("before_get_caps", "no", "no JSON"),
    ],
)
def test_a_malformed_document_names_its_script(site, point, text, reason):
    """The one that has written it, not a later one."""
    site.script(point, "10_bad", f"printf '%s' '{text}' > ${{_hook_domxml:-$_hook_json}}")
    site.script(point, "20_good", "true")
    document = fromstring("<x/>") if point == "before_vm_start" else {"own": 1}
    with pytest.raises(HookScriptFailed, match=f"{point}/10_bad failed: .*{reason}"):
        site.run(point, document, vm_id=VM)
    assert document == {"own": 1} or tostring(document) == b"<x />"


def test_json(site):
    """A document of JSON is edited, the module `hooking` is found."""
    site.script(
        "after_get_caps",
        "a",
        "#!/usr/bin/env python3\nimport hooking\ncaps = hooking.read_json()\ncaps['new'] = [1]\n"
        "hooking.write_json(caps)\nassert hooking.tobool('Yes') and not hooking.tobool('0')\n",
    )
    caps = {"own": 1}
    site.run("after_get_caps", caps)
    assert caps == {"own": 1, "new": [1]}


def test_points_without_use_of_the_document(site):
    """Its edits have no effect, and an empty file is empty."""
    site.script("after_vm_start", "a", "echo garbage > $_hook_domxml")
    site.script("before_vm_destroy", "a", "test -f $_hook_domxml -a ! -s $_hook_domxml")
    document = fromstring("<x/>")
    site.run("after_vm_start", document, vm_id=VM)
    site.run("before_vm_destroy", vm_id=VM)
    assert tostring(document) == b"<x />"


def test_exit_hook_and_the_record(site):
    """The message is in the error and in the record, which has checksum and difference, and no password."""
    site.script(
        "before_vm_start",
        "a",
        "#!/usr/bin/env python3\nimport hooking\nd = hooking.read_domxml()\n"
        "d.documentElement.setAttribute('passwd', 'x-secret')\nhooking.write_domxml(d)\n"
        "hooking.exit_hook('no licence')\n",
    )
    with pytest.raises(HookScriptFailed, match="ended with code 2: no licence"):
        site.run("before_vm_start", fromstring("<x/>"), vm_id=VM)
    run = site.last()
    assert (run.point, run.script, run.vm_id, run.exit_code) == ("before_vm_start", "a", VM, 2)
    assert len(run.sha256) == 64
    assert run.duration > 0
    assert "+<x passwd='***'/>" in run.difference
    assert "x-secret" not in str(run)


def test_launch_flags(site):
    """A script may start the machine paused; other flags are refused."""
    text = "#!/usr/bin/env python3\nimport hooking\nhooking.dump_vm_launch_flags_to_file('v', {})\n"
    site.script("before_vm_start", "a", text.format(1))
    site.run("before_vm_start", fromstring("<x/>"), vm_id=VM)
    assert (site.runner.taken_flags(VM), site.runner.taken_flags(VM)) == (1, None)
    site.script("before_vm_start", "a", text.format(8))
    with pytest.raises(HookScriptFailed, match="launch flags 8"):
        site.run("before_vm_start", fromstring("<x/>"), vm_id=VM)


def test_parameters_of_a_ticket(site):
    """They are variables, weaker than properties; a name that an interpreter reads is refused."""
    site.script("before_vm_set_ticket", "a", "echo $userName $color >&2")
    document, params = fromstring("<x/>"), {"userName": "joe", "color": "weak"}
    site.run("before_vm_set_ticket", document, vm_id=VM, custom={"color": "red"}, params=params)
    assert site.last().stderr == "joe red\n"
    with pytest.raises(HookScriptFailed, match="the variable LD_PRELOAD"):
        site.run("before_vm_set_ticket", document, vm_id=VM, params={"LD_PRELOAD": "/x.so"})


def test_the_record_is_bounded(site):
    """The oldest runs are dropped."""
    site.journal.keep = 3
    site.script("after_vm_start", "a", "true")
    for _ in range(5):
        site.run("after_vm_start", fromstring("<x/>"))
    assert [run.number for run in site.journal.runs("", "", 9)] == [5, 4, 3]
