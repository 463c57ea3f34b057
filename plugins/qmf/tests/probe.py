"""A console of another make: it sends bytes, and keeps the bytes that come."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from proton import Message

from vdsm_qmf.bus import Bus, BusSettings, Loop, Security, Subscription, parse_url
from vdsm_qmf.protocol.message import Address
from vdsm_qmf.protocol.names import DIRECT, LOCATE_KEY, TOPIC
from vdsm_qmf.testing import PASSWORD

from .amqp_bytes import plain, shape

Shape = dict[str, Any]


class Probe:
    """Listens to all indications and to its own key."""

    def __init__(self, url: str, *topics: str, user: str = "guest", password: str = PASSWORD) -> None:
        self.key = f"probe-{uuid.uuid4()}"
        self.user = user
        self.got: list[tuple[int, Shape]] = []
        self._changed = threading.Condition()
        self._up = threading.Event()
        self._loop = Loop("probe")
        keys = [Subscription(DIRECT, self.key), *(Subscription(TOPIC, topic) for topic in topics)]
        broker, _, _ = parse_url(url)
        security = Security(user=user, password=password)
        broker = type(broker)(host=broker.host, port=broker.port, user=user)
        settings = BusSettings(brokers=(broker,), security=security, reconnect_first=0.01, reconnect_max=0.02)
        self._bus = Bus(self._loop, settings, keys, self)

    def __enter__(self) -> Probe:
        self._loop.start()
        self._bus.start()
        assert self._up.wait(15.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._bus.stop(1.0)
        self._loop.stop()

    @property
    def connections(self) -> int:
        """How often it has been connected."""
        return self._bus.connections

    @property
    def reply_to(self) -> str:
        return f"/exchange/{DIRECT}/{self.key}"

    def up(self) -> None:
        self._up.set()

    def down(self, reason: str) -> None:
        self._up.clear()

    def received(self, data: bytes, link: int, *, oversized: bool) -> None:
        with self._changed:
            self.got.append((link, shape(data)))
            self._changed.notify_all()
        self._bus.done(link)

    def break_off(self, times: int) -> None:
        """Lose the connection without a word, and wait for the next one, several times."""
        for _ in range(times):
            self._up.clear()
            self._loop.call_soon(lambda: self._bus._connection.abandon("broken off"))
            assert self._up.wait(15.0)

    def send(
        self, body: Any, properties: dict[Any, Any] | None, *, to: str = "", cid: Any = None, **fields: Any
    ) -> None:
        """Send a message: `to` an agent, else a locate request."""
        message = Message(body=body)
        message.inferred = isinstance(body, bytes)
        message.properties = properties
        message.reply_to = self.reply_to
        if (user := fields.pop("user_id", self.user.encode())) is not None:
            message.user_id = user
        if cid is not None:
            message.correlation_id = cid
        for name, value in fields.items():
            setattr(message, name, value)
        address = Address(DIRECT, to) if to else Address(TOPIC, LOCATE_KEY)
        message.subject = address.key
        self.raw(bytes(message.encode()), address)

    def raw(self, data: bytes, address: Address) -> None:
        """Send bytes as they are."""
        assert self._bus.send(address, data)

    def wait(self, wanted: Callable[[Shape], bool], timeout: float = 5.0) -> Shape:
        """The first message that is wanted."""

        def found() -> Shape | None:
            return next((message for _, message in self.got if wanted(message)), None)

        with self._changed:
            assert self._changed.wait_for(lambda: found() is not None, timeout), "no such message came"
            message = found()
            assert message is not None
            return message

    def answer(self, cid: Any, timeout: float = 5.0) -> Shape:
        """The answer with a correlation id."""
        return self.answers(cid, timeout)[-1]

    def answers(self, cid: Any, timeout: float = 5.0) -> list[Shape]:
        """All parts of an answer."""

        def parts() -> list[Shape]:
            return [
                message
                for link, message in self.got
                if link == 0 and plain(message["properties"].get("correlation-id", Nothing)) == cid
            ]

        def complete() -> bool:
            found = parts()
            return bool(found) and "partial" not in found[-1].get("application-properties", {})

        with self._changed:
            assert self._changed.wait_for(complete, timeout), f"no answer to {cid!r}: {parts()}"
            return parts()

    def silent(self, seconds: float = 0.3) -> bool:
        """Return whether no answer arrives for a while."""
        before = len(self.got)
        time.sleep(seconds)
        return not any(link == 0 for link, _ in self.got[before:])


class Nothing:
    value = None
