"""The how-to on plugins, followed word for word."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.packaging.environment import Environment
from vdsm_bridge import skeleton
from vdsm_bridge.skeleton import CannotBegin

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
    """In a fresh environment each command succeeds, and prints what the page says."""
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
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    said = dict(re.findall(rf"^{MARK}(\d+)\n(.*?)(?=^{MARK}|\Z)", done.stdout, re.MULTILINE | re.DOTALL))
    for number, (kind, _, text) in enumerate(blocks):
        if kind == "output":
            missing = [line for line in text.splitlines() if line not in said[str(number - 1)].splitlines()]
            assert not missing, (missing, said[str(number - 1)])


@pytest.mark.parametrize("name", ["", "Lights", "my-lights", "1light", "../x"])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    """Nothing is written then."""
    with pytest.raises(CannotBegin, match="a name has lower-case letters"):
        skeleton.write(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A folder that is there stays as it is."""
    skeleton.write("lights", tmp_path)
    with pytest.raises(CannotBegin, match="is there already"):
        skeleton.write("lights", tmp_path)
