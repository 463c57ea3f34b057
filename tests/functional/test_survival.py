"""State that survives `kill -9` of the daemon: answered requests, tasks, and their callers."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xmlrpc.client import ServerProxy

import pytest

from tests.functional.daemon import Daemon
from vdsm_bridge.testing.polling import until
from vdsm_core.work.table import PROGRESS_INTERVAL

#: A plugin with work that takes longer than the daemon lives.
PLUGIN = '''
"""Slow work."""

from vdsm_bridge import Feature, Namespace, Progress, query, task


class Mill(Namespace):
    """Grinds slowly."""

    grain = 0

    @query(since="1.0")
    def get_grain(self) -> int:
        """How much was ground since the start."""
        return Mill.grain

    @task(since="1.0")
    def grind(self, progress: Progress, seconds: float = 60.0) -> int:
        """Grind once, and do not begin again.

        :param seconds: how long it takes
        """
        return self._grind(progress, seconds)

    @task(since="1.0", resumable=True)
    def mill(self, progress: Progress, seconds: float = 60.0) -> int:
        """Grind, again if need be.

        :param seconds: how long it takes
        """
        return self._grind(progress, seconds)

    def _grind(self, progress: Progress, seconds: float) -> int:
        Mill.grain += 1
        progress.report(40, "grinding")
        progress.sleep(seconds)
        return Mill.grain


class Mills(Feature):
    """The feature `mill`."""

    def namespaces(self) -> list[Namespace]:
        """`Mill`."""
        return [Mill()]
'''


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon on libvirt's test driver, whose machines die with it."""
    plugins = tmp_path / "plugins"
    info = plugins / "mill-1.dist-info"
    info.mkdir(parents=True)
    (plugins / "mill.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mill\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[vdsm.verbs]\nmill = mill:Mills\n")
    with Daemon(tmp_path, "test:///default", plugins=plugins) as daemon:
        yield daemon


def post(daemon: Daemon, path: str, body: Any, key: str) -> tuple[int, Any]:
    """A request over REST's TCP socket, with its id; status and document."""
    connection = HTTPConnection(urlsplit(daemon.address("rest", "http")).netloc, timeout=30)
    headers = {"Content-Type": "application/json", "Idempotency-Key": key, "FlowID": "survival"}
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    document = json.loads(answer.read() or b"null")
    connection.close()
    return answer.status, document


def audited(daemon: Daemon, **wanted: str) -> list[str]:
    """The outcomes of the records that have these members, in their order."""
    lines = (daemon.folder / "state" / "audit.log").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [record["outcome"] for record in records if wanted.items() <= record.items()]


def test_a_request_is_carried_out_once(daemon: Daemon) -> None:
    """The same request, over another binding and after `kill -9`, has the first answer and does nothing."""
    vm_id, key = str(uuid.uuid4()), str(uuid.uuid4())
    params = {"vmId": vm_id, "vmName": "once", "memSize": 64}
    url = daemon.address("xmlrpc", "http")
    with ServerProxy(url, headers=[("Request-Id", key), ("FlowID", "survival")]) as proxy:
        first: Any = proxy.create(params)
    assert first["status"]["code"] == 0
    daemon.kill()
    daemon.start()
    # The machine died with the test driver: if it is there, it was made again.
    assert vm_id not in {vm["vmId"] for vm in daemon.xmlrpc("list")["vmList"]}
    status, again = post(daemon, "/api/verbs/VM.create", {"vmParams": params}, key)
    assert (status, again["vmId"], again["status"]) == (200, vm_id, "WaitForLaunch")
    assert vm_id not in {vm["vmId"] for vm in daemon.xmlrpc("list")["vmList"]}
    assert post(daemon, "/api/verbs/VM.destroy", {"vmID": vm_id}, key)[0] == 422
    assert audited(daemon, request_id=key, flow_id="survival", verb="VM.create") == [
        "begun",
        "done",
        "replayed",
    ]
    assert audited(daemon, request_id=key, verb="VM.destroy", object=vm_id) == ["request-id-reused"]


def test_tasks_are_accounted_for(daemon: Daemon) -> None:
    """After `kill -9` a repeatable task begins again; another one reports what remained of it."""
    once, again = (
        daemon.rest("POST", f"/api/verbs/Mill.{verb}", {"seconds": 60})["taskID"]
        for verb in ("grind", "mill")
    )

    def progress() -> set[int]:
        return {daemon.rest("GET", f"/api/tasks/{task}/status")["progress"] for task in (once, again)}

    until(lambda: progress() == {40}, every=0.05)
    # Progress is published and stored at intervals.
    time.sleep(5 * PROGRESS_INTERVAL)
    daemon.kill()
    daemon.start()
    left = daemon.rest("GET", f"/api/tasks/{once}/status")
    assert (left["taskState"], left["taskResult"], left["code"]) == ("finished", "cleanFailure", 411)
    assert "it stood at 40 %, and nothing was rolled back" in left["message"]
    until(lambda: daemon.rest("GET", f"/api/tasks/{again}/status")["progress"] == 40, every=0.05)
    assert daemon.rest("GET", "/api/mill/grain") == 1
    daemon.rest("POST", f"/api/tasks/{again}/stop")
    until(lambda: daemon.rest("GET", f"/api/tasks/{again}/status")["taskState"] == "finished", every=0.05)
    # What was cut off has no end in the log; what ended has.
    assert audited(daemon, task=once) == ["done", "begun"]
    assert audited(daemon, task=again) == ["done", "begun", "begun", "task-aborted"]
