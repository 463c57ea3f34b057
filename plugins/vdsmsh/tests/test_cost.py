"""A command line that people use in loops must start quickly."""

from __future__ import annotations

import resource
import subprocess
import sys

from vdsm_bridge.testing import TestHost

#: Seconds of CPU, of the whole process.
MOST = 0.3
#: The machine has other work, too; the best of some runs is what the command takes.
RUNS = 7


def cpu_of(argv: list[str]) -> float:
    """Seconds of CPU that a process took, with those that it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, check=True, capture_output=True, timeout=30)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def test_one_shot(host: TestHost, vdsmsh: str) -> None:
    """One list takes less than 0.3 s of CPU."""
    best = min(cpu_of([vdsmsh, "lamp", "list"]) for _ in range(RUNS))
    assert best < MOST, f"'vdsmsh lamp list' took {best:.3f} s of CPU"


def test_completion(host: TestHost, vdsmsh: str) -> None:
    """Completing live names takes no longer."""
    best = min(cpu_of([vdsmsh, "__complete", "bash", "vdsmsh lamp info "]) for _ in range(RUNS))
    assert best < MOST, f"completing took {best:.3f} s of CPU"


def test_slow_imports_wait() -> None:
    """Listing loads no part of the host, and nothing that only other commands need."""
    code = "import sys, vdsmsh.main, vdsmsh.dispatch; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True, timeout=30).split())
    assert "vdsm_bridge.transport" in loaded
    slow = {"libvirt", "msgspec", "vdsm_core", "rich", "prompt_toolkit", "cmd2", "yaml", "httpx"}
    assert slow & loaded == set()
