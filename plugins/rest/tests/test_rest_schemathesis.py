"""schemathesis tries everything that the OpenAPI document says: all default checks and phases."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Serve
from .rest_client import RestClient

#: Seconds; a run takes a fifth of it on two cores that do nothing else.
PATIENCE = 800
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")


#: Verbs on the devices and disks of a machine.
DEVICES = [
    "VM.changeCD", "VM.changeFloppy", "VM.diskSizeExtend", "VM.getDiskAlignment", "VM.refresh_disk",
    "VM.hotplugDisk", "VM.hotunplugDisk", "VM.hotplugNic", "VM.hotunplugNic", "VM.hotplugMemory",
    "VM.hotunplugMemory", "VM.hotplugHostdev", "VM.hotunplugHostdev", "VM.updateDevice",
    "VM.diskReplicateStart", "VM.diskReplicateFinish", "VM.merge", "VM.snapshot", "VM.start_backup",
    "VM.redefine_checkpoints", "VM.setIoTune", "VM.updateVmPolicy",
]  # fmt: skip
#: Verbs that may refuse what their schema allows, because the rest depends on several members at once or on
#: the object; a schema says that in words only. Every other check holds for them, too.
REFUSING = {
    "VM.create": "a machine needs a name and memory, or a document",
    "VM.migrationCreate": "the id that stands inside, too, is the same",
    "VM.setBalloonTarget": "at most the memory of the machine",
    "VM.setNumberOfCpus": "at most as many as the machine has room for",
    "Host.getJobs": "a query has a limited number of parameters",
    **dict.fromkeys(
        ("Host.getExternalVMs", "Host.getExternalVMNames", "Host.convertExternalVm"),
        "the scheme of the URI is one of those that are configured",
    ),
    **dict.fromkeys(
        ("Host.getExternalVmFromOva", "Host.convertExternalVmFromOva"),
        "the file is in a folder that is configured",
    ),
    **dict.fromkeys(
        DEVICES, "VDSM's structs have several forms, of which one is given, for a device that the machine has"
    ),
    "VM.hibernate": "six ids in one text",
    "VM.setXML": "the text is a document of libvirt",
    "VM.sendKeys": "the names of keys in one text",
}
#: Verbs that the test driver of libvirt, or a host without the service, fails to carry out: a 500, for what
#: is below the host refuses.
FAILING = [
    *DEVICES, "VM.migrate", "VM.setTicket", "VM.hotplugLease", "VM.hotunplugLease", "VM.monitorCommand",
    "VM.setBalloonTarget", "VM.setCpuTunePeriod", "VM.setCpuTuneQuota", "VM.hibernate", "VM.sendKeys",
    "Host.registerSecrets", "Host.unregisterSecrets", "Host.setHaMaintenanceMode", "Host.setKsmTune",
    "Host.setMOMPolicy", "Host.setMOMPolicyParameters", "VM.desktopLogin", "VM.desktopLogoff",
    "VM.desktopLock", "VM.desktopSendHcCommand",
]  # fmt: skip
CONFIG = f"""
[[operations]]
include-operation-id = {[f"{prefix}{verb}" for verb in REFUSING for prefix in ("", "verbs/")]}
checks.positive_data_acceptance.enabled = false
[[operations]]
include-operation-id = {[f"{prefix}{verb}" for verb in FAILING for prefix in ("", "verbs/")]}
checks.positive_data_acceptance.enabled = false
checks.not_a_server_error.enabled = false
"""


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE + 20)
def test_the_api_is_as_its_document_says(serve: Serve, tmp_path: Path) -> None:
    """No check of schemathesis fails. Left out is the verb of the sample that fails on purpose."""
    pytest.importorskip("schemathesis")
    # Long arguments are refused by their length, not by the length of the path that carries them.
    served = serve(installed=True, max_header=1024 * 1024)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = [
        sys.executable,
        *("-m", "schemathesis.cli", "run", f"{served.url}/api/openapi.json"),
        # One worker: two threads that parse Python at once fail on 3.11 before 3.11.8 (gh-106905), with a
        # SystemError from `ast.parse`, by which hypothesis describes its strategies.
        *("--max-examples", "5", "--seed", "1", "--workers", "1", "--no-color", "--warnings", "off"),
        *("--exclude-operation-id", "Room.breakDown", "--exclude-operation-id", "verbs/Room.breakDown"),
        # A stream has no end that one could wait for.
        *("--exclude-operation-id", "events"),
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS)}
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    with RestClient(served.url) as client:
        paths = client.get("/api/openapi.json").json["paths"]
    operations = sum(len(item) for item in paths.values())
    tested = re.search(r"Tested:\s+(\d+)", run.stdout)
    assert tested is not None
    # The three that are left out, and the document itself, which it has read already.
    assert int(tested[1]) == operations - 4
