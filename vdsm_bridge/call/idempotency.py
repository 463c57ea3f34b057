"""The idempotency store: the same request sent again gets the first answer, over any binding, also
after a restart, and is not carried out twice."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from typing import Any, Final

import msgspec

from vdsm_core import errors
from vdsm_core.errors import (
    DeadlineExceeded,
    InvalidArgument,
    OutcomeUnknown,
    RequestIdReused,
    StateUnavailable,
    Unavailable,
    VdsmError,
)
from vdsm_core.state import StateStore

log = logging.getLogger(__name__)

#: Bytes of a request id: it is kept for days.
MAX_ID_BYTES: Final = 256
#: Answers kept at most: the oldest are forgotten first. Looked at with `_TIDY_EVERY`.
MAX_ANSWERS: Final = 200_000
#: Answers that could not be stored, kept in memory until they can.
_MAX_UNSTORED: Final = 10_000
#: Seconds between two looks for answers that are too old.
_TIDY_EVERY: Final = 3600.0
_TABLES: Final = (
    (
        "CREATE TABLE requests (id TEXT PRIMARY KEY, verb TEXT NOT NULL, "
        "fingerprint TEXT NOT NULL, begun REAL NOT NULL, answer BLOB)"
    ),
    "CREATE INDEX requests_begun ON requests (begun)",
)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How a request ended: JSON of the result, or the error's slug and facts."""

    result: str = ""
    error: str = ""
    code: int = 0
    facts: dict[str, Any] = {}


class Replayed(VdsmError):
    """The first call with this request id failed. Facts: those of its error, and `message`."""

    template = "{message}"

    def __init__(self, slug: str, code: int, facts: dict[str, Any]) -> None:
        super().__init__(**facts)
        self.slug = slug  # type: ignore[misc]
        self.code = code  # type: ignore[misc]


class _Running:
    __slots__ = ("ended", "fingerprint", "verb")

    def __init__(self, verb: str, fingerprint: str) -> None:
        self.verb = verb
        self.fingerprint = fingerprint
        self.ended = threading.Event()


class IdempotencyStore:
    """Remembers each request id of actions and tasks with its answer.

    :param keep: seconds that an answer is remembered
    """

    def __init__(self, state: StateStore, keep: float) -> None:
        self._state = state
        state.declare("requests", _TABLES)
        self._keep = keep
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        self._tidied = 0.0
        self._started = 0.0
        #: What could not be stored at the end of a request, by id; None: the id is free again.
        self._unstored: dict[str, Answer | None] = {}

    def start(self) -> None:
        """Make the table where absent, and forget what is too old; it is looked for every hour."""
        self._state.migrate("requests", _TABLES)
        self._started = time.time()
        self._forget_old()

    def begin(self, request_id: str, verb: str, arguments: bytes, timeout: float) -> Answer | None:
        """Take a request id into use. None: carry the request out, then call `end`. Else: the first answer.

        :param timeout: seconds to wait for the first call, if it still runs
        :raises RequestIdReused: the id belongs to another verb or other arguments
        :raises OutcomeUnknown: the daemon ended while the first call ran
        :raises StateUnavailable: the id cannot be kept: the request must not be carried out
        :raises InvalidArgument: the id is too long
        """
        if len(request_id.encode(errors="surrogatepass")) > MAX_ID_BYTES:
            raise InvalidArgument(argument="request id", reason=f"it has more than {MAX_ID_BYTES} bytes")
        fingerprint = hashlib.sha256(arguments).hexdigest()
        with self._lock:
            running = self._running.get(request_id)
            if running is None:
                self._store_late()
                answer = self._remembered(request_id, verb, fingerprint)
                if answer is not None:
                    return answer
                self._running[request_id] = _Running(verb, fingerprint)
                if time.monotonic() - self._tidied > _TIDY_EVERY:
                    self._forget_old()
                return None
        if (running.verb, running.fingerprint) != (verb, fingerprint):
            raise RequestIdReused(request_id=request_id, verb=running.verb)
        if not running.ended.wait(timeout):
            raise DeadlineExceeded(reason=f"the first call with request id '{request_id}' still runs")
        return self.begin(request_id, verb, arguments, timeout)

    def end(self, request_id: str, answer: Answer | None) -> None:
        """Store how a request ended. None: it changed nothing, so the id may be used again.

        An answer that cannot be stored is kept in memory: the request was carried out, its caller gets the
        result, and so does a repetition. Should the daemon end before it can be stored, the next one reports
        the outcome as unknown.
        """
        try:
            self._store(request_id, answer)
        except StateUnavailable as error:
            log.warning("The answer to request id '%s' is only in memory: %s", request_id, error)
            with self._lock:
                if len(self._unstored) < _MAX_UNSTORED:
                    self._unstored[request_id] = answer
        finally:
            # Also if the store fails: then the outcome is unknown, but nobody waits for it for ever.
            with self._lock:
                self._running.pop(request_id).ended.set()

    def _store(self, request_id: str, answer: Answer | None) -> None:
        if answer is None:
            self._state.write("DELETE FROM requests WHERE id = ?", request_id)
        else:
            self._state.write(
                "UPDATE requests SET answer = ? WHERE id = ?", msgspec.json.encode(answer), request_id
            )

    def _store_late(self) -> None:
        """Store what could not be stored before; called with the lock held."""
        while self._unstored:
            request_id = next(iter(self._unstored))
            try:
                self._store(request_id, self._unstored[request_id])
            except StateUnavailable:
                return
            del self._unstored[request_id]

    def _forget_old(self) -> None:
        # Not the unanswered ones: one of them may run on this very thread.
        sql = "DELETE FROM requests WHERE begun < ? AND (answer IS NOT NULL OR begun < ?)"
        now = time.time()
        self._state.write(sql, now - self._keep, self._started - self._keep)
        self._state.write(
            "DELETE FROM requests WHERE answer IS NOT NULL AND rowid <= "
            "(SELECT max(rowid) FROM requests) - ?",
            MAX_ANSWERS,
        )
        self._tidied = time.monotonic()

    def _remembered(self, request_id: str, verb: str, fingerprint: str) -> Answer | None:
        if (late := self._unstored.get(request_id)) is not None:
            return late
        rows = self._state.rows("SELECT verb, fingerprint, answer FROM requests WHERE id = ?", request_id)
        if not rows:
            sql = "INSERT INTO requests (id, verb, fingerprint, begun) VALUES (?, ?, ?, ?)"
            self._state.write(sql, request_id, verb, fingerprint, time.time())
            return None
        first_verb, first_fingerprint, blob = rows[0]
        if (first_verb, first_fingerprint) != (verb, fingerprint):
            raise RequestIdReused(request_id=request_id, verb=first_verb)
        if blob is None:
            raise OutcomeUnknown(request_id=request_id, verb=verb)
        return msgspec.json.decode(blob, type=Answer)


def refused(error: VdsmError) -> Answer | None:
    """What the store remembers of an error: nothing if nothing was done, and it may succeed later."""
    if isinstance(error, (Unavailable, DeadlineExceeded)) and not error.in_doubt:
        return None
    return Answer(error=error.slug, code=error.code, facts={**_plain(error.facts), "message": str(error)})


def replay(answer: Answer) -> VdsmError:
    """The error that a remembered answer stands for, of its own class where that is still known."""
    for cls in errors.tree():
        if cls.slug == answer.error and "__init__" not in vars(cls):
            return cls(**answer.facts)
    return Replayed(answer.error, answer.code, answer.facts)


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    plain = (str, int, float, bool, type(None))
    return {name: value if isinstance(value, plain) else str(value) for name, value in facts.items()}
