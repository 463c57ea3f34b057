"""A command line that people use in loops must start quickly; `python -m bench command_line` measures it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import vdsmsh
from vdsm_bridge.testing import TestHost

from .conftest import Run

_PATHS = f"import sys; sys.path.insert(0, {str(Path(vdsmsh.__file__).parents[1])!r})"
_SLOW = {
    "argparse",
    "cliff",
    "dataclasses",
    "email",
    "http.client",
    "httpx",
    "importlib.metadata",
    "inspect",
    "logging",
    "msgspec",
    "pathlib",
    "rich",
    "shutil",
    "ssl",
    "stevedore",
    "subprocess",
    "tempfile",
    "typing",
    "urllib.parse",
}


def test_slow_imports_wait() -> None:
    """Listing loads no part of the host, and nothing that only other commands need."""
    code = "import sys, vdsmsh.main, vdsmsh.commands.dispatch; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True, timeout=30).split())
    assert "vdsm_bridge.transport" in loaded
    slow = {"libvirt", "msgspec", "vdsm_core", "rich", "prompt_toolkit", "cmd2", "cliff", "yaml", "httpx"}
    assert slow & loaded == set()


def test_completion_of_names_does_without_cliff() -> None:
    """Tab on a name loads no part of cliff; only options need its parser."""
    code = "import sys, vdsmsh.main, vdsmsh.shell.completion; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True, timeout=30).split())
    assert {"cliff", "rich", "prompt_toolkit", "yaml", "vdsm_core"} & loaded == set()


def test_quick_lines_load_no_framework(machines: TestHost) -> None:
    """A list of machines loads nothing but a few modules of Python: no HTTP client, no argparse, no host."""
    out = _in_python("main(['vm', 'list'])")
    *rows, modules = out.splitlines()
    assert rows[0].split()[:2] == ["NAME", "STATUS"]
    loaded = set(modules.split())
    assert "vdsmsh.quick.commands" in loaded
    assert loaded & _SLOW == set()
    assert not [name for name in loaded if name.startswith("vdsm_")]


def test_quick_completion_loads_no_framework(machines: TestHost, run: Run) -> None:
    """Once a command has read the verbs of the host, Tab on a command or a machine does without them."""
    assert run("vm", "--help").code == 0
    for line, expected in (("vdsmsh vm sta", "start"), ("vdsmsh vm start ", "test")):
        *candidates, modules = _in_python(f"main(['__complete', 'bash', {line!r}])").splitlines()
        assert expected in candidates
        assert set(modules.split()) & _SLOW == set()


def _in_python(call: str) -> str:
    """What a line prints, and the modules that it has loaded; without what `site` loads beforehand."""
    code = f"{_PATHS}; from vdsmsh.main import main; {call}; print(*sys.modules)"
    return subprocess.check_output([sys.executable, "-S", "-c", code], text=True, timeout=60)
