"""Calls of a feature that goes, or is replaced because its options have changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_bridge.plugins.feature import Feature
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_core import config as configuration
from vdsm_core.config import Options
from vdsm_core.errors import NoSuchVerb, Unavailable


def reload(host: TestHost, **tables: dict[str, Any]) -> None:
    """Apply other plugin tables."""
    host.host.reload(configuration.merge([("changed", {"plugin": tables})]))


class LibraryOptions(Options, frozen=True):
    """Options of the feature."""

    books: int = 1


class Library(Feature):
    """A feature with a verb that takes its time, and a lane."""

    Config = LibraryOptions
    alive: bool = False

    def namespaces(self) -> Sequence[Namespace]:
        """Its books."""
        library = self

        class Book(Namespace, key="title"):
            """A book."""

            @query(since="1.0")
            def read(self, pause: float = 0.0) -> int:
                """Read."""
                time.sleep(pause)
                assert library.alive, "called while the feature is down"
                return int(library.config.books)

            @action(since="1.0")
            def lend(self, title: str, pause: float = 0.0) -> int:
                """Lend.

                :raises NotFound: never
                """
                return self.read(pause)

        return [Book()]

    def start(self) -> None:
        """Up."""
        if self.config.books < 0:
            raise ValueError("no books to read")
        self.alive = True

    def stop(self, grace: float) -> None:
        """Down."""
        self.alive = False


def test_other_options_drop_no_call_of_the_feature(make_vdsm_host: Callable[..., TestHost]) -> None:
    """Calls that run end on the old one, those that come wait for the new one; the API stays as it is."""
    host = make_vdsm_host(verbs={"library": Library})
    revision = host.bridge.revision
    over = threading.Event()

    def reader() -> list[int]:
        answers = []
        while not over.is_set():
            answers.append(host.call("Book.read", pause=0.01))
        return answers

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(reader) for _ in range(4)]
        for books in range(2, 12):
            reload(host, library={"books": books})
            assert host.call("Book.read") == books
            assert host.bridge.revision == revision
        over.set()
        for each in readers:
            answers = each.result(10)
            assert answers == sorted(answers)
            assert len(set(answers)) > 5


def test_a_feature_finishes_its_calls_before_it_stops(make_vdsm_host: Callable[..., TestHost]) -> None:
    """One that runs is answered; one that comes finds no verb any more."""
    host = make_vdsm_host(verbs={"library": Library})
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(host.call, "Book.lend", title="a", pause=0.5)
        until(lambda: host.call("Host.getQueues"))
        reload(host, library={"enabled": False})
        assert call.done()
        assert call.result() == 1
    with pytest.raises(NoSuchVerb):
        host.call("Book.read")


def test_a_call_that_waited_too_long_finds_its_plugin_gone(make_vdsm_host: Callable[..., TestHost]) -> None:
    """It is refused when its turn comes, instead of being carried out by what is down."""
    host = make_vdsm_host(verbs={"library": Library}, config={"daemon": {"grace": 0.2}})
    with ThreadPoolExecutor(2) as pool:
        calls = []
        for _ in range(2):
            calls.append(pool.submit(host.call, "Book.lend", title="a", pause=1.0))
            until(lambda: len(host.call("Host.getQueues")) >= len(calls))
        reload(host, library={"enabled": False})
        assert "called while the feature is down" in repr(calls[0].exception(10).__cause__)
        with pytest.raises(
            Unavailable, match="'library' was switched off, or restarted, while the call waited"
        ):
            calls[1].result(10)


def test_options_that_do_not_work_leave_the_old_ones_in_force(
    make_vdsm_host: Callable[..., TestHost],
) -> None:
    """A value of the right type may still be wrong: the feature keeps running and has the reason."""
    host = make_vdsm_host(verbs={"library": Library})
    revision = host.bridge.revision

    def info() -> tuple[str, str]:
        (found,) = (plugin for plugin in host.host.plugins() if plugin.name == "library")
        return found.state, found.error

    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            call = pool.submit(host.call, "Book.read", pause=0.2)
            reload(host, library={"books": -1})
            assert info() == (
                "running",
                "it keeps running with its former options: ValueError: no books to read",
            )
            assert (call.result(10), host.call("Book.read"), host.bridge.revision) == (1, 1, revision)
    reload(host)
    assert info() == ("running", "")
    reload(host, library={"books": 3})
    assert (info(), host.call("Book.read")) == (("running", ""), 3)
    reload(host, library={"enabled": False})
    reload(host, library={"books": -1})
    assert info() == ("failed", "ValueError: no books to read")
    with pytest.raises(NoSuchVerb):
        host.call("Book.read")
