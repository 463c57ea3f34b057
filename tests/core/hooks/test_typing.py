"""Calls of hooks are checked by mypy, from the one declaration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: Each line after the first ones is a call, with the error that mypy reports.
CALLS = """
from xml.etree.ElementTree import Element
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hooks.specs import storage, vm
from vdsm_core.volumes import DiskId, PreparedDisk
hooks, domain = Hooks(), Element("domain")
edited: Element = hooks.run(vm.vdsm_before_vm_start, domain, vm_id="v", custom={"a": "b"})
disk: PreparedDisk | None = hooks.run(storage.vdsm_prepare_disk, "v", DiskId(guid="1"))
hooks.run(vm.vdsm_before_vm_destroy, vm_id="v", custom={})
hooks.run(vm.vdsm_before_vm_destroyed, "v", {})  # attr-defined
hooks.run(vm.vdsm_before_vm_destroy)  # call-arg
hooks.run(vm.vdsm_before_vm_destroy, "v", {}, "w")  # call-arg
hooks.run(vm.vdsm_before_vm_destroy, vm="v", custom={})  # call-arg
hooks.run(vm.vdsm_before_vm_destroy, 1, {})  # arg-type
hooks.run(vm.vdsm_before_vm_start, "<domain/>", vm_id="v", custom={})  # arg-type
hooks.run(vm.vdsm_before_vm_start, domain, vm_id="v", custom={"a": 1})  # dict-item
text: str = hooks.run(storage.vdsm_prepare_disk, "v", DiskId())  # assignment
"""


def test_a_wrong_call_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name, a number or a type of arguments, or a result that is not the hook's."""
    api = pytest.importorskip("mypy.api")
    monkeypatch.chdir(ROOT)
    options = ["--config-file", "pyproject.toml", "--cache-dir", ".mypy_cache"]
    output, trouble, _ = api.run([*options, "--strict", "-c", CALLS])
    assert not trouble
    found = {
        int(line): code
        for line, code in re.findall(r"^<string>:(\d+): error: .* \[([\w-]+)\]$", output, re.MULTILINE)
    }
    wanted = {
        number: line.partition("  # ")[2]
        for number, line in enumerate(CALLS.splitlines(), 1)
        if "  # " in line
    }
    assert found == wanted, output
