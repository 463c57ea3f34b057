"""The memory of a daemon with many threads."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")

_REPORT = """
import ctypes, threading
from vdsm_bridge.daemon.allocator import share_one_arena

libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
{first}
ready, over = threading.Barrier(9), threading.Event()

def work():
    libc.malloc(ctypes.c_size_t(2_000))
    ready.wait()
    over.wait()

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
ready.wait()
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
over.set()
"""
_RESIDENT = """
import ctypes
from vdsm_bridge.daemon.allocator import give_back

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

# Pieces that are too small to be mapped each by itself, and between them some that stay.
pieces = []
for _ in range(300):
    pieces.append(libc.malloc(ctypes.c_size_t(100_000)))
    ctypes.memset(pieces[-1], 1, 100_000)
    libc.malloc(ctypes.c_size_t(5_000))
for piece in pieces:
    libc.free(ctypes.c_void_p(piece))
before = resident()
give_back()
print(before - resident())
"""


def run(code: str) -> str:
    """What a process of its own prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_threads_share_one_arena() -> None:
    """Without that each has its own."""
    assert run(_REPORT.format(first="share_one_arena()")).count("<heap nr=") == 1
    assert run(_REPORT.format(first="")).count("<heap nr=") > 1


def test_what_is_free_is_given_back() -> None:
    """Of 30 MB that were used once, most go back to the system."""
    assert int(run(_RESIDENT)) > 20_000_000
