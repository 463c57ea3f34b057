"""The multicalls of one client make their calls one at a time, unless one of them waits for something."""

from __future__ import annotations

import gc
import threading

from vdsm_xmlrpc.turns import Turns


class Calls:
    """Threads of one client that each make some calls, and how many of them ran side by side."""

    def __init__(self, turns: Turns, client: str) -> None:
        self.turns = turns
        self.turn = turns.of(client)
        self.most = self._running = 0
        self._lock = threading.Lock()

    def call(self) -> None:
        """One call of a multicall."""
        with self.turns.wait(self.turn):
            with self._lock:
                self._running += 1
                self.most = max(self.most, self._running)
            sum(range(20_000))
            with self._lock:
                self._running -= 1

    def run(self) -> None:
        """A multicall."""
        for _ in range(20):
            self.call()


def test_one_at_a_time() -> None:
    """However many multicalls a client has, one of its calls runs."""
    calls = Calls(Turns(patience=60.0), "bob")
    threads = [threading.Thread(target=calls.run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls.most == 1


def test_a_call_that_waits() -> None:
    """A call that waits for an event, say, does not keep the other multicalls of its client from theirs."""
    turns = Turns(patience=0.05)
    turn = turns.of("bob")
    done = threading.Event()

    def other() -> None:
        with turns.wait(turns.of("bob")):
            done.set()

    with turns.wait(turn):
        thread = threading.Thread(target=other)
        thread.start()
        assert done.wait(30)
        thread.join()
    with turns.wait(turn):
        pass  # it was released once


def test_clients_do_not_wait_for_each_other() -> None:
    """Another client has a turn of its own, and nothing is kept of clients that have left."""
    turns = Turns(patience=60.0)
    bob = turns.of("bob")
    with turns.wait(bob), turns.wait(turns.of("eve")):
        assert turns.of("bob") is bob
    del bob
    gc.collect()
    assert len(turns) == 0
