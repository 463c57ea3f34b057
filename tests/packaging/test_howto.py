"""The how-to on plugins, followed word for word."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.packaging.environment import BIN, Environment
from vdsm_bridge import Feature
from vdsm_bridge.tool import installed, skeleton
from vdsm_bridge.tool.installed import Installed
from vdsm_bridge.tool.skeleton import CannotBegin

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "write-a-plugin.md"
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "-- block "


def script(blocks: list[tuple[str, str, str]]) -> str:
    """One shell script: what is to be typed, and the files that are to be written."""
    lines = ["set -eu; trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for number, (kind, file, text) in enumerate(blocks):
        if kind == "python":
            lines.append(f"cat > {file} <<'END-OF-BLOCK'\n{text}END-OF-BLOCK\n")
        elif kind == "sh":
            lines.append(f"echo; echo '{MARK}{number}'\n{text}")
    return "\n".join(lines)


def test_the_howto_word_for_word(tmp_path: Path) -> None:
    """In a fresh environment each command succeeds, and prints the output on the page."""
    environment = Environment(tmp_path / "venv")
    environment.make()
    environment.borrow_all()
    blocks = BLOCK.findall(PAGE.read_text("utf-8"))
    assert {kind for kind, _, _ in blocks} == {"sh", "python", "output"}
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        ["bash", "-c", script(blocks)],
        cwd=tmp_path / "work",
        env={**environment.variables(), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    output = dict(re.findall(rf"^{MARK}(\d+)\n(.*?)(?=^{MARK}|\Z)", done.stdout, re.MULTILINE | re.DOTALL))
    for number, (kind, _, text) in enumerate(blocks):
        if kind == "output":
            missing = [line for line in text.splitlines() if line not in output[str(number - 1)].splitlines()]
            assert not missing, (missing, output[str(number - 1)])


@pytest.fixture(scope="module")
def here() -> Installed:
    """What is installed here."""
    return installed.read()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *(
            (name, "a name is lower-case")
            for name in ("", "Lights", "my-lights", "1light", "../x", "a__b", "a_")
        ),
        ("none", "its class None would"),
        ("feature", "its class Feature would"),
        ("exception", "its class Exception would"),
        ("rest", r"a plugin of this name is installed, from vdsm-rest \d"),
        ("vm", "the plugin 'virt' has the namespace VM already"),
        ("vms", "the plugin 'virt' has the namespace VM already"),
        ("task", "the plugin 'base' has the namespace Task already"),
        ("core", "a package vdsm_core is installed"),
    ],
)
def test_names_that_cannot_be(tmp_path: Path, here: Installed, name: str, message: str) -> None:
    """The reason is reported, and nothing is written."""
    with pytest.raises(CannotBegin, match=message):
        skeleton.write(name, tmp_path, here)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["import", "class", "query", "host_lights", "x2"])
def test_names_that_can_be(tmp_path: Path, here: Installed, name: str) -> None:
    """Also words of Python's own, which only stand within others: what is written compiles."""
    folder = skeleton.write(name, tmp_path, here)
    for file in folder.rglob("*.py"):
        compile(file.read_text(), file, "exec")
    check = [BIN / "ruff", "format", "--isolated", "--check", "--line-length", "100", folder]
    formatted = subprocess.run(check, capture_output=True, text=True, check=False)
    assert formatted.returncode == 0, formatted.stdout
    scope: dict[str, object] = {"__name__": "lamp"}
    exec((folder / f"vdsm_{name}" / "__init__.py").read_text(), scope)
    assert issubclass(scope[name.title().replace("_", "")], Feature)  # type: ignore[arg-type]


def test_nothing_is_overwritten(tmp_path: Path, here: Installed) -> None:
    """A folder that is there stays as it is."""
    skeleton.write("lights", tmp_path, here)
    with pytest.raises(CannotBegin, match="exists already; remove it"):
        skeleton.write("lights", tmp_path, here)
