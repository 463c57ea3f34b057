"""The look for what tests leave behind finds it."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.settled import LASTING_THREADS, Held

GRACE = 0.05


def test_thread() -> None:
    """A running thread is reported by its name; one that has ended is not."""
    before, end = Held.now(), threading.Event()
    thread = threading.Thread(target=end.wait, name="forgotten")
    thread.start()
    assert before.left_since(GRACE) == {"threads": [f"forgotten ({thread.ident})"]}
    end.set()
    assert before.left_since() == {}


@pytest.mark.parametrize("name", sorted(LASTING_THREADS))
def test_lasting_thread(name: str) -> None:
    """A thread that cannot be ended is not reported."""
    before, end = Held.now(), threading.Event()
    thread = threading.Thread(target=end.wait, name=name)
    thread.start()
    assert before.left_since(GRACE) == {}
    end.set()
    thread.join()


def test_child() -> None:
    """A child process is reported until it has been waited for."""
    before = Held.now()
    with subprocess.Popen(["sleep", "60"]) as child:
        assert before.left_since(GRACE) == {"child processes": [f"sleep ({child.pid})"]}
        child.kill()
    assert before.left_since() == {}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_listener(family: socket.AddressFamily, tmp_path: Path) -> None:
    """A listening socket is reported; another is not."""
    before = Held.now()
    with socket.socket(family) as listener:
        listener.bind(str(tmp_path / "s") if family == socket.AF_UNIX else ("127.0.0.1", 0))
        assert before.left_since(GRACE) == {}
        listener.listen()
        assert list(before.left_since(GRACE)) == ["listening sockets"]
    assert before.left_since() == {}
