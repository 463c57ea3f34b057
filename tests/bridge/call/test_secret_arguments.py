"""Secrets among the arguments of tasks, over restarts; and what a declaration may not do with them."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pytest

from vdsm_bridge.api.collect import collect
from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_bridge.api.secrets import secret_paths
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_core.secret import Secret
from vdsm_core.types import UUID, Open, Record


class Nested(Record, frozen=True):
    """A record with secrets at several depths."""

    key: Secret
    keys: list[Secret]
    by_name: dict[str, Secret]
    inner: Nested | None = None


class OpenNested(Open[Nested]):
    """The same, with members that are not known."""


def test_secret_paths() -> None:
    """Secrets are found in records, lists, dictionaries and open dictionaries."""
    found = {("key",), ("keys", "[]"), ("byName", "{}")}
    assert set(secret_paths(Nested)) == set(secret_paths(OpenNested)) == found
    assert list(secret_paths(dict[str, str])) == []


def test_a_task_with_a_secret_does_not_survive(tmp_path: Path) -> None:
    """After a crash it ends with an error that says why, and does not run without the secret."""
    lamp, folder, copy = str(uuid.uuid4()), tmp_path / "state", tmp_path / "copy"
    with TestHost(config={"daemon": {"state_dir": str(folder)}}) as host:
        host.call("Lamp.create", lamp={"lampID": lamp, "name": "a"})
        task = host.call("Lamp.recode", lampID=lamp, code="hush-hush", pause=10).task_id
        until(lambda: host.call("Task.getStatus", taskID=task).task_state == "running")
        # What a daemon that is killed now leaves behind.
        shutil.copytree(folder, copy)
        host.call("Task.stop", taskID=task)
    for path in copy.rglob("*"):
        assert path.is_dir() or b"hush" not in path.read_bytes()
    with TestHost(config={"daemon": {"state_dir": str(copy)}}) as host:
        host.call("Lamp.create", lamp={"lampID": lamp, "name": "a"})
        until(lambda: host.call("Task.getStatus", taskID=task).task_state == "finished")
        status = host.call("Task.getStatus", taskID=task)
        assert status.code != 0
        assert "secrets are not stored; send the request again" in status.message


class _Query(Namespace, name="Q"):
    """A query with a secret."""

    @query(since="1.0")
    def look(self, code: Secret) -> int:
        """Look."""
        return len(code.reveal())


class _Reply(Namespace, name="R"):
    """A reply with a secret."""

    @action(since="1.0")
    def make(self) -> Nested:
        """Make."""
        raise NotImplementedError


class _Delete(Namespace, name="D", key="dID", plural="ds"):
    """A deletion with a secret."""

    @action(since="1.0", part="delete")
    def remove(self, d_id: UUID, code: Secret) -> None:
        """Remove."""


class _Create(Namespace, name="C", key="cID", plural="cs"):
    """A creation with a secret beside its structure."""

    @action(since="1.0", part="create")
    def create(self, c: Nested, code: Secret) -> None:
        """Create."""


@pytest.mark.parametrize(
    ("namespace", "reason"),
    [
        (_Query(), "needs an action"),
        (_Delete(), "needs an action"),
        (_Create(), "needs an action"),
        (_Reply(), "the result holds a secret"),
    ],
)
def test_declarations_that_would_show_secrets(namespace: Namespace, reason: str) -> None:
    """A secret in a URL or in a reply is refused when the verb is declared."""
    with pytest.raises(TypeError, match=reason):
        collect(namespace, "test")
