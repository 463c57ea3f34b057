"""A host with hook scripts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_hooks.folder import ScriptFolders
from vdsm_hooks.journal import Journal
from vdsm_hooks.points import POINTS
from vdsm_hooks.properties import Definitions
from vdsm_hooks.run import execution
from vdsm_hooks.run.execution import Account, Limits, Outcome, Script
from vdsm_hooks.runner import Runner

#: Root's tests run scripts as an account that has nothing else: no script runs as root.
ACCOUNT = Account(61_000 + os.getpid() % 4_000, 61_000) if os.geteuid() == 0 else None
LIMITS = Limits(processes=16, file_size=2**20, memory=2**32, cpu=20)


class Local:
    """Runs scripts with their files in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, script: Script) -> Outcome:
        return execution.execute(script, LIMITS, ACCOUNT, self._folder)


class Site:
    """Folders of scripts, and what runs them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = root.parent / "files"
        self.files.mkdir()
        self.files.chmod(0o777)
        root.mkdir()
        root.chmod(0o777)
        self.journal = Journal()
        self.seconds = 30.0
        definitions = Definitions({"color": "^[a-z]*$"}, {"port": "^[0-9]+$"}, refuse=False)
        self.folders = ScriptFolders(root)
        self.runner = Runner(
            self.folders, Local(self.files), self.journal, definitions, lambda _: self.seconds
        )

    def script(self, point: str, name: str, text: str, mode: int = 0o755) -> Path:
        """Write a script; one without a first line is a shell's."""
        path = self.root / point / name
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(0o777)
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        path.chmod(mode)
        return path

    def run(self, point: str, document: object = None, **arguments: object) -> None:
        self.runner.run(POINTS[point], document, **arguments)  # type: ignore[arg-type]

    def last(self):
        return self.journal.runs("", "", 1)[0]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the account of scripts can read; those of pytest are closed to it."""
    with tempfile.TemporaryDirectory(prefix="vdsm-test-hooks-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def site(open_folder: Path) -> Site:
    return Site(open_folder / "hooks")


@pytest.fixture
def nothing_left(site: Site) -> Iterator[None]:
    """At the end, neither files of scripts nor descriptors of this process are left."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert list(site.files.iterdir()) == []
    until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before, 10)
