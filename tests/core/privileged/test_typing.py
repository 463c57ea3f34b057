"""Calls of operations are checked by mypy, from the one declaration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: Each line after the first ones is a call, with what mypy says of it.
CALLS = """
from tests.core.privileged import sample
from vdsm_core.privileged import Entry, Opened
from vdsm_core.privileged.client import PrivilegedClient
client = PrivilegedClient("")
number: int = client.run(sample.add, 1)
content: bytes = client.run(sample.read, Opened("a"))
client.run(sample.remove, entry=Entry("a"))
text: str = client.run(sample.add, 1)  # assignment
client.run(sample.add)  # call-arg
client.run(sample.add, 1, 2, 3)  # call-arg
client.run(sample.add, "1")  # arg-type
client.run(sample.remove, "a")  # arg-type
client.run(sample.remove, name=Entry("a"))  # call-arg
"""


def test_a_wrong_call_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name, a number or a type of arguments, or a result that is not the operation's."""
    api = pytest.importorskip("mypy.api")
    monkeypatch.chdir(ROOT)
    options = ["--config-file", "pyproject.toml", "--cache-dir", ".mypy_cache"]
    said, trouble, _ = api.run([*options, "--strict", "-c", CALLS])
    assert not trouble
    found = {
        int(line): code
        for line, code in re.findall(r"^<string>:(\d+): error: .* \[([\w-]+)\]$", said, re.MULTILINE)
    }
    wanted = {
        number: line.partition("  # ")[2]
        for number, line in enumerate(CALLS.splitlines(), 1)
        if "  # " in line
    }
    assert found == wanted, said
