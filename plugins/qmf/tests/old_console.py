"""A console of another make behind qpidd."""

from __future__ import annotations

import threading
from typing import Any

from proton import Described, Event, Message
from proton.handlers import MessagingHandler
from proton.reactor import ApplicationEvent, Container, EventInjector, Filter, LinkOption

from .amqp_bytes import shape

#: The agent that it asks.
AGENT = "vdsm:vdsmd:q.host"


class OldConsole(MessagingHandler):
    """A console behind qpidd: a link for each key, requests by the relay, a reply address of its own."""

    def __init__(self, url: str, *subscriptions: tuple[str | None, str], prefetch: int = 100) -> None:
        super().__init__(prefetch=prefetch)
        self.url, self.subscriptions = url, subscriptions
        self.got: list[dict[str, Any]] = []
        self.address = ""
        self._changed = threading.Condition()
        self._up = threading.Event()
        self._injector = EventInjector()

    def __enter__(self) -> OldConsole:
        self._thread = threading.Thread(target=lambda: Container(self).run(), name="old console")
        self._thread.start()
        assert self._up.wait(10.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._injector.trigger(ApplicationEvent("finish"))
        self._thread.join(10.0)
        assert not self._thread.is_alive()

    def on_start(self, event: Event) -> None:
        event.container.selectable(self._injector)
        self.connection = event.container.connect(self.url, allowed_mechs="ANONYMOUS", reconnect=False)
        self._waiting = len(self.subscriptions) + 1
        self.sender = event.container.create_sender(self.connection, None)
        for exchange, key in self.subscriptions:
            if exchange is None:
                event.container.create_receiver(self.connection, dynamic=True)
            else:
                event.container.create_receiver(self.connection, exchange, options=_Key(exchange, key))

    def on_link_opened(self, event: Event) -> None:
        if event.link.is_receiver and event.link.source.dynamic:
            self.address = event.link.remote_source.address
        self._waiting -= 1
        if not self._waiting:
            self._up.set()

    def on_finish(self, event: Event) -> None:
        self.connection.close()
        self._injector.close()

    def on_ask(self, event: Event) -> None:
        self.sender.send(event.subject)

    def on_message(self, event: Event) -> None:
        with self._changed:
            self.got.append(shape(bytes(event.message.encode())))
            self._changed.notify_all()

    def ask(self, body: Any, properties: dict[Any, Any] | None, **fields: Any) -> None:
        message = Message(body=body, properties=properties)
        message.inferred = isinstance(body, bytes)
        for name, value in {"address": "qmf.default.direct", "subject": AGENT, **fields}.items():
            setattr(message, name, value)
        self._injector.trigger(ApplicationEvent("ask", subject=message))

    def wait(self, count: int = 1) -> list[dict[str, Any]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.got) >= count, 5.0), self.got
            return list(self.got)


class _Key(LinkOption):
    """The legacy filter that binds a key."""

    def __init__(self, exchange: str, key: str) -> None:
        kind = "topic" if exchange.endswith("topic") else "direct"
        descriptor = f"apache.org:legacy-amqp-{kind}-binding:string"
        self._filter = Filter({"key": Described(descriptor, key)})

    def apply(self, link: Any) -> None:
        self._filter.apply(link)
