"""A plugin that cannot be imported breaks its own tests, and no others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture import rules
from tests.architecture.tree import Tree

ROOT = Path(__file__).parents[1]
FOLDERS = {plugin.package: plugin.folder for plugin in Tree(ROOT).plugins}
#: Where tests stand that may import a plugin.
USERS = ("plugins", "examples", "tests/functional", "tests/fuzz", "tests/isolation")

Break = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def broken(tmp_path: Path) -> Break:
    """A function that runs pytest with packages that raise on import, in any process."""

    def run(packages: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
        for package in packages:
            (tmp_path / package).mkdir()
            (tmp_path / package / "__init__.py").write_text("raise RuntimeError('broken on purpose')\n")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.run(
            command, cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    return run


def failed(output: str) -> set[str]:
    """The files and folders that could not be collected."""
    return set(re.findall(r"^ERROR (\S+)", output, re.MULTILINE))


def depends(place: str, package: str) -> bool:
    """Whether tests may need a package: they name it, are its own, or their distribution needs it."""
    if place.endswith(".py"):
        text = (ROOT / place).read_text()
        if package in rules.imported(text) or f'importorskip("{package}' in text:
            return True
    folder = ROOT.joinpath(*Path(place).parts[:2])
    if not (folder / "pyproject.toml").exists():
        return False
    needs = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = {re.split(r"[^\w-]", text)[0].replace("-", "_") for text in needs}
    return folder == FOLDERS[package] or package in needed


@pytest.mark.slow
@pytest.mark.parametrize("package", FOLDERS)
def test_only_those_who_need_it_fail(broken: Break, package: str) -> None:
    """All other tests are still collected, and the run reports the collection error."""
    done = broken([package], "--collect-only", *USERS)
    places = failed(done.stdout)
    assert any((ROOT / place).is_relative_to(FOLDERS[package]) for place in places), done.stdout
    assert {place for place in places if not depends(place, package)} == set()
    assert done.returncode == 1
    collected = set(re.findall(r"^(plugins/\w+)/tests/\S+::", done.stdout, re.MULTILINE))
    others = (str(folder.relative_to(ROOT)) for folder in FOLDERS.values())
    assert collected == {folder for folder in others if not depends(folder, package)}


def test_others_pass(broken: Break) -> None:
    """With every plugin broken, core and bridge are tested as ever, and the run fails all the same."""
    done = broken(list(FOLDERS), "tests/contract", "tests/core/plugins", "plugins", "-n2", "-k", "not AsText")
    assert {place for place in failed(done.stdout) if not place.startswith("plugins/")} == set()
    # The first word would be of those that failed.
    assert re.match(r"\d{2,} passed,.* errors", done.stdout.splitlines()[-1]), done.stdout
    assert done.returncode == 1
