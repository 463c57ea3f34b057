"""A command line that people use in loops must start quickly; `python -m bench command_line` measures it."""

from __future__ import annotations

import subprocess
import sys


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
