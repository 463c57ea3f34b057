"""The idempotency store: a request that the same caller sends again gets its first answer and is not carried
out twice, over any binding, also after a restart.

A request id belongs to the identity that used it: the same id of another identity is another request.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from typing import Any, Final, NamedTuple

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
#: Maximum number of answers; the oldest are deleted first, every `_TIDY_EVERY` seconds.
MAX_ANSWERS: Final = 200_000
#: Maximum number of answers that are kept in memory because they could not be stored.
_MAX_UNSTORED: Final = 10_000
#: Seconds between two deletions of old answers.
_TIDY_EVERY: Final = 3600.0
_TABLES: Final = (
    (
        "CREATE TABLE requests (id TEXT PRIMARY KEY, verb TEXT NOT NULL, "
        "fingerprint TEXT NOT NULL, begun REAL NOT NULL, answer BLOB)"
    ),
    "CREATE INDEX requests_begun ON requests (begun)",
    # Request ids had one namespace for all callers: theirs is the empty identity.
    (
        "CREATE TABLE answers (identity TEXT NOT NULL, id TEXT NOT NULL, verb TEXT NOT NULL, "
        "fingerprint TEXT NOT NULL, begun REAL NOT NULL, answer BLOB, PRIMARY KEY (identity, id))"
    ),
    (
        "INSERT INTO answers SELECT '', id, verb, fingerprint, begun, answer FROM requests "
        "ORDER BY requests.rowid"
    ),
    "DROP TABLE requests",
    "CREATE INDEX answers_begun ON answers (begun)",
)


class RequestKey(NamedTuple):
    """A request id of one caller; `identity` is `Identity.key`."""

    identity: str
    request_id: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a request: JSON of the result, or the error's slug and facts."""

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
    """Stores each request id of actions and tasks with its answer.

    :param keep: seconds that an answer is kept
    """

    def __init__(self, state: StateStore, keep: float) -> None:
        self._state = state
        state.declare("requests", _TABLES)
        self._keep = keep
        self._lock = threading.Lock()
        self._running: dict[RequestKey, _Running] = {}
        self._tidied = 0.0
        self._started = 0.0
        #: Answers that could not be stored, by request; None: the id is free again.
        self._unstored: dict[RequestKey, Answer | None] = {}

    def start(self) -> None:
        """Create the table where absent, and delete old answers; they are deleted every hour, too."""
        self._state.migrate("requests", _TABLES)
        self._started = time.time()
        self._forget_old()

    def begin(self, key: RequestKey, verb: str, arguments: bytes, timeout: float) -> Answer | None:
        """Begin a request. Return None: carry it out, then call `end`; else return its first answer.

        :param timeout: seconds to wait for the first call, if it still runs
        :raises RequestIdReused: the id belongs to another verb or other arguments
        :raises OutcomeUnknown: the daemon ended while the first call ran
        :raises StateUnavailable: the id cannot be stored: the request must not be carried out
        :raises InvalidArgument: the id is too long
        """
        request_id = key.request_id
        if len(request_id.encode(errors="surrogatepass")) > MAX_ID_BYTES:
            raise InvalidArgument(argument="request id", reason=f"it has more than {MAX_ID_BYTES} bytes")
        fingerprint = hashlib.sha256(arguments).hexdigest()
        with self._lock:
            running = self._running.get(key)
            if running is None:
                self._store_unstored()
                answer = self._remembered(key, verb, fingerprint)
                if answer is not None:
                    return answer
                self._running[key] = _Running(verb, fingerprint)
                if time.monotonic() - self._tidied > _TIDY_EVERY:
                    self._forget_old()
                return None
        if (running.verb, running.fingerprint) != (verb, fingerprint):
            raise RequestIdReused(request_id=request_id, verb=running.verb)
        if not running.ended.wait(timeout):
            raise DeadlineExceeded(reason=f"the first call with request id '{request_id}' still runs")
        return self.begin(key, verb, arguments, timeout)

    def end(self, key: RequestKey, answer: Answer | None) -> None:
        """Store the answer of a request. None: it changed nothing, so the id may be used again.

        An answer that cannot be stored is kept in memory: the request was carried out, and its caller and any
        repetition get the result. If the daemon ends before it can be stored, the next one reports the
        outcome as unknown.
        """
        try:
            self._store(key, answer)
        except StateUnavailable as error:
            log.warning("The answer to request id '%s' is only in memory: %s", key.request_id, error)
            with self._lock:
                if len(self._unstored) < _MAX_UNSTORED:
                    self._unstored[key] = answer
        finally:
            # Also if storing fails: then the outcome is unknown, but repetitions must not wait forever.
            with self._lock:
                self._running.pop(key).ended.set()

    def _store(self, key: RequestKey, answer: Answer | None) -> None:
        if answer is None:
            self._state.write("DELETE FROM answers WHERE identity = ? AND id = ?", *key)
        else:
            self._state.write(
                "UPDATE answers SET answer = ? WHERE identity = ? AND id = ?",
                msgspec.json.encode(answer),
                *key,
            )

    def _store_unstored(self) -> None:
        """Store answers that could not be stored before; called with the lock held."""
        while self._unstored:
            key = next(iter(self._unstored))
            try:
                self._store(key, self._unstored[key])
            except StateUnavailable:
                return
            del self._unstored[key]

    def _forget_old(self) -> None:
        # Keep unanswered ones: such a request may run on this very thread.
        sql = "DELETE FROM answers WHERE begun < ? AND (answer IS NOT NULL OR begun < ?)"
        now = time.time()
        self._state.write(sql, now - self._keep, self._started - self._keep)
        self._state.write(
            "DELETE FROM answers WHERE answer IS NOT NULL AND rowid <= (SELECT max(rowid) FROM answers) - ?",
            MAX_ANSWERS,
        )
        self._tidied = time.monotonic()

    def _remembered(self, key: RequestKey, verb: str, fingerprint: str) -> Answer | None:
        if (late := self._unstored.get(key)) is not None:
            return late
        request_id = key.request_id
        # An id of a release that stored no caller is answered to any caller with the same request.
        rows = self._state.rows(
            "SELECT verb, fingerprint, answer FROM answers WHERE id = ? AND identity IN (?, '') "
            "ORDER BY identity DESC LIMIT 1",
            request_id,
            key.identity,
        )
        if not rows:
            sql = "INSERT INTO answers (identity, id, verb, fingerprint, begun) VALUES (?, ?, ?, ?, ?)"
            self._state.write(sql, *key, verb, fingerprint, time.time())
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
    """Return the error of a stored answer, of its own class where that still exists."""
    for cls in errors.tree():
        if cls.slug == answer.error and "__init__" not in vars(cls):
            return cls(**answer.facts)
    return Replayed(answer.error, answer.code, answer.facts)


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    plain = (str, int, float, bool, type(None))
    return {name: value if isinstance(value, plain) else str(value) for name, value in facts.items()}
