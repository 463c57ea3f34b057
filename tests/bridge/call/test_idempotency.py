"""The idempotency store."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vdsm_bridge.call.idempotency import Answer, IdempotencyStore, RequestKey, refused, replay
from vdsm_core.errors import (
    Conflict,
    DeadlineExceeded,
    HypervisorDeadline,
    HypervisorLost,
    InvalidArgument,
    OutcomeUnknown,
    RequestIdReused,
    StateUnavailable,
    Unavailable,
    VdsmError,
)
from vdsm_core.state import StateStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    """An open state store."""
    made = StateStore(str(tmp_path / "state.sqlite"))
    made.open()
    yield made
    made.close()


def start(store: StateStore, keep: float = 100) -> IdempotencyStore:
    """A store as a new daemon has it."""
    requests = IdempotencyStore(store, keep)
    requests.start()
    return requests


def key(request_id: str, identity: str = "token:joe") -> RequestKey:
    """A request id of one caller."""
    return RequestKey(identity, request_id)


R = key("r")
ANSWER = Answer(result='{"a":1}')


def test_the_first_answer_is_kept(store: StateStore) -> None:
    """Also by the daemon after this one."""
    requests = start(store)
    assert requests.begin(R, "Lamp.create", b"{}", 1) is None
    requests.end(R, ANSWER)
    assert requests.begin(R, "Lamp.create", b"{}", 1) == ANSWER
    assert start(store).begin(R, "Lamp.create", b"{}", 1) == ANSWER


@pytest.mark.parametrize(("verb", "arguments"), [("Lamp.remove", b"{}"), ("Lamp.create", b'{"a":1}')])
@pytest.mark.parametrize("running", [True, False])
def test_another_request_is_refused(store: StateStore, verb: str, arguments: bytes, running: bool) -> None:
    """A request id belongs to one verb and one set of arguments, from the beginning on."""
    requests = start(store)
    requests.begin(R, "Lamp.create", b"{}", 1)
    if not running:
        requests.end(R, ANSWER)
    with pytest.raises(RequestIdReused, match=r"already used for another request \(Lamp.create\)"):
        requests.begin(R, verb, arguments, 1)


def test_a_second_call_joins_the_first(store: StateStore) -> None:
    """It waits, and gets the same answer."""
    requests = start(store)
    requests.begin(R, "v", b"{}", 1)
    answers: list[Answer | None] = []
    second = threading.Thread(target=lambda: answers.append(requests.begin(R, "v", b"{}", 10)))
    second.start()
    requests.end(R, ANSWER)
    second.join()
    assert answers == [ANSWER]


def test_a_second_call_waits_no_longer_than_it_may(store: StateStore) -> None:
    """Then the error reports that the first one still runs."""
    requests = start(store)
    requests.begin(R, "v", b"{}", 1)
    with pytest.raises(DeadlineExceeded, match="the first call with request id 'r' still runs"):
        requests.begin(R, "v", b"{}", 0.01)


def test_what_changed_nothing_may_be_sent_again(store: StateStore) -> None:
    """A request that ended without an answer leaves its id free, for the one that waits, too."""
    requests = start(store)
    requests.begin(R, "v", b"{}", 1)
    requests.end(R, None)
    assert requests.begin(R, "v", b"{}", 1) is None


def test_the_end_of_the_daemon_leaves_the_outcome_unknown(store: StateStore) -> None:
    """The next daemon does not carry the request out again, and says what to do."""
    start(store).begin(R, "Lamp.create", b"{}", 1)
    with pytest.raises(OutcomeUnknown, match=r"while Lamp\.create with request id 'r' ran; read the state"):
        start(store).begin(R, "Lamp.create", b"{}", 1)


def test_old_answers_are_forgotten(store: StateStore) -> None:
    """At the start, once they are older than they are kept."""
    requests = start(store)
    requests.begin(R, "v", b"{}", 1)
    requests.end(R, ANSWER)
    assert start(store, keep=-1).begin(R, "v", b"{}", 1) is None


def test_old_answers_are_forgotten_while_the_daemon_runs(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each hour or so; a request that is being carried out keeps its row, however long it takes."""
    requests = start(store, keep=0)
    for request_id in ("old", "running"):
        requests.begin(key(request_id), "v", b"{}", 1)
    requests.end(key("old"), ANSWER)
    monkeypatch.setattr("vdsm_bridge.call.idempotency._TIDY_EVERY", -1.0)
    requests.begin(key("new"), "v", b"{}", 1)
    assert {row[0] for row in store.rows("SELECT id FROM answers")} == {"running", "new"}


def test_a_store_that_fails_leaves_no_caller_waiting(store: StateStore) -> None:
    """The failure reaches the caller; who waits for the same request goes on, too."""
    requests = start(store)
    requests.begin(R, "v", b"{}", 1)
    store.write("DROP TABLE answers")
    with pytest.raises(sqlite3.Error):
        requests.end(R, ANSWER)
    with pytest.raises(sqlite3.Error):
        requests.begin(R, "v", b"{}", 5)


@pytest.mark.parametrize("error", [Unavailable(reason="x"), DeadlineExceeded(reason="x")])
def test_what_may_pass_is_not_remembered(error: VdsmError) -> None:
    """A request that failed for want of time or means may succeed later."""
    assert refused(error) is None


@pytest.mark.parametrize(
    "error",
    [
        HypervisorDeadline(operation="reset", object="vm", seconds=1.0),
        HypervisorLost(uri="qemu:///system", operation="reset", object="vm", reason="end of file"),
    ],
)
def test_what_may_have_been_done_is_remembered(error: VdsmError) -> None:
    """A request that libvirt did not confirm is not carried out again under the same id."""
    answer = refused(error)
    assert answer is not None
    assert (type(replay(answer)), str(replay(answer))) == (type(error), str(error))


def test_errors_come_back_as_they_were() -> None:
    """Class, code and message survive; facts that JSON has no word for become text."""
    error = InvalidArgument(argument="a.b", reason=Path("/x"))
    answer = refused(error)
    assert answer is not None
    again = replay(answer)
    assert (type(again), str(again), again.code) == (InvalidArgument, str(error), 91)


def test_errors_of_plugins_that_are_gone_come_back_too() -> None:
    """An error whose class is not known any more keeps its slug, its code and its message."""
    again = replay(Answer(error="lamp-is-hot", code=4711, facts={"message": "The lamp is hot", "lamp": "a"}))
    assert not isinstance(again, Conflict)
    assert (again.slug, again.code, str(again)) == ("lamp-is-hot", 4711, "The lamp is hot")


def test_an_id_that_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    """A request is refused if its id cannot be stored; a later one succeeds."""
    folder = tmp_path / "folder"
    lost = StateStore(str(folder / "state.sqlite"))
    lost.open()
    requests = start(lost)
    shutil.rmtree(folder)
    folder.touch()
    with pytest.raises(StateUnavailable):
        requests.begin(R, "Lamp.create", b"{}", 1)
    folder.unlink()
    assert requests.begin(R, "Lamp.create", b"{}", 1) is None
    requests.end(R, ANSWER)
    assert requests.begin(R, "Lamp.create", b"{}", 1) == ANSWER
    lost.close()


def test_an_answer_that_cannot_be_stored_is_kept_in_memory(tmp_path: Path) -> None:
    """The request was carried out: it is not an error, is not repeated, and is stored as soon as possible."""
    folder = tmp_path / "folder"
    lost = StateStore(str(folder / "state.sqlite"))
    lost.open()
    requests = start(lost)
    requests.begin(R, "Lamp.create", b"{}", 1)
    shutil.rmtree(folder)
    folder.touch()
    requests.end(R, ANSWER)
    assert requests.begin(R, "Lamp.create", b"{}", 1) == ANSWER
    folder.unlink()
    requests.begin(key("another"), "Lamp.create", b"{}", 1)
    assert start(lost).begin(R, "Lamp.create", b"{}", 1) == ANSWER
    lost.close()


def test_a_request_id_has_a_length(store: StateStore) -> None:
    """It is kept for days."""
    with pytest.raises(InvalidArgument, match="256 bytes"):
        start(store).begin(key("é" * 129), "Lamp.create", b"{}", 1)


@pytest.mark.parametrize("running", [True, False])
def test_a_request_id_belongs_to_an_identity(store: StateStore, running: bool) -> None:
    """The id of another identity is free, neither answered nor refused, also while that request runs."""
    requests = start(store)
    requests.begin(R, "Lamp.create", b"{}", 1)
    if not running:
        requests.end(R, ANSWER)
    theirs = key("r", "peer:joe")
    assert requests.begin(theirs, "Lamp.remove", b"{}", 1) is None
    requests.end(theirs, None)
    assert requests.begin(theirs, "Lamp.create", b"{}", 1) is None
    if not running:
        assert start(store).begin(R, "Lamp.create", b"{}", 1) == ANSWER


def test_no_text_of_two_parts_makes_the_key_of_another(store: StateStore) -> None:
    """Identity and id are stored apart: a name that ends like an id begins is no other caller's."""
    requests = start(store)
    requests.begin(key("b:c", "token:a"), "v", b"{}", 1)
    requests.end(key("b:c", "token:a"), ANSWER)
    assert requests.begin(key("c", "token:a:b"), "v", b"{}", 1) is None


def test_an_id_of_before_is_answered_to_whoever_repeats_the_request(store: StateStore) -> None:
    """The landed release kept no identity: the same request is not carried out again, another is refused."""
    requests = start(store)
    requests.begin(key("r", ""), "Lamp.create", b"{}", 1)
    requests.end(key("r", ""), ANSWER)
    assert requests.begin(R, "Lamp.create", b"{}", 1) == ANSWER
    with pytest.raises(RequestIdReused):
        requests.begin(R, "Lamp.remove", b"{}", 1)
