"""A peer that speaks AMQP 1.0 as qpidd does, for what depends on that: addresses, filters, the relay, SASL.

qpidd itself is in no package that the tests could install. What this does was recorded of qpidd: nodes are
exchanges and queues by their bare names; a key is a filter of the link, the first one counts and none is
echoed; a link without one has `#` or the empty key; deliveries of subscriptions are settled; dynamic nodes
are called after container and link; messages to the anonymous relay go by `to` and `subject`, and are
accepted whether they can be routed or not. It stands on Proton's reactor and uses nothing of vdsm.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proton import Condition, Delivery, Described, Endpoint, Event, Link, Message, Sender, Terminus, symbol
from proton.handlers import Handshaker, MessagingHandler
from proton.reactor import ApplicationEvent, Container, EventInjector

EXCHANGES = {
    "qmf.default.topic": "topic",
    "qmf.default.direct": "direct",
    "amq.direct": "direct",
    "amq.topic": "topic",
}
TOPIC_FILTERS = ("apache.org:legacy-amqp-topic-binding:string", 0x0000468C00000001)
DIRECT_FILTERS = ("apache.org:legacy-amqp-direct-binding:string", 0x0000468C00000000)
CREDIT = 500
RELAY = "ANONYMOUS-RELAY"


def matches(pattern: list[str], key: list[str]) -> bool:
    """Whether a key fits a topic's pattern: `*` is one word, `#` any number."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return any(matches(pattern[1:], key[at:]) for at in range(len(key) + 1))
    return bool(key) and pattern[0] in ("*", key[0]) and matches(pattern[1:], key[1:])


class Binding:
    """A link to a client, and what goes to it."""

    def __init__(self, sender: Sender, node: str, key: str, kind: str) -> None:
        self.sender, self.node, self.key, self.kind = sender, node, key, kind
        self.waiting: list[bytes] = []

    def wants(self, node: str, subject: str) -> bool:
        if node != self.node:
            return False
        if self.kind == "topic":
            return matches(self.key.split("."), subject.split("."))
        return self.kind == "queue" or subject == self.key


class QpiddPeer(MessagingHandler):
    """`with QpiddPeer() as peer: ... peer.url`.

    :param mechanisms: those of SASL that it offers
    :param sasl: folder with the configuration of Cyrus SASL for them
    """

    def __init__(self, mechanisms: str = "ANONYMOUS", sasl: Path | None = None) -> None:
        super().__init__(prefetch=0, auto_accept=False)
        self.handlers.append(Handshaker())
        self.mechanisms, self.sasl = mechanisms, sasl
        self.url = ""
        #: What came in: the target's address (None: the relay), `to`, subject, bytes.
        self.received: list[tuple[str | None, str | None, str | None, bytes]] = []
        #: What was attached: address and the map of filters.
        self.attached: list[tuple[str | None, Any]] = []
        self.users: list[str] = []
        #: Names of containers and links.
        self.names: set[str] = set()
        self._bindings: list[Binding] = []
        self._ready = threading.Event()
        self._injector = EventInjector()
        self._tag = 0

    def __enter__(self) -> QpiddPeer:
        self._thread = threading.Thread(target=self._run, name="qpidd peer")
        self._thread.start()
        assert self._ready.wait(10.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._injector.trigger(ApplicationEvent("finish"))
        self._thread.join(10.0)
        self._injector.close()

    def _run(self) -> None:
        self._container = Container(self)
        self._container.container_id = "qpidd-peer"
        self._container.run()

    def on_start(self, event: Event) -> None:
        event.container.selectable(self._injector)
        self._acceptor = event.container.listen("127.0.0.1:0")
        port = self._acceptor._selectable._delegate.getsockname()[1]
        self.url = f"amqp://127.0.0.1:{port}"
        self._ready.set()

    def on_finish(self, _event: ApplicationEvent) -> None:
        self._acceptor.close()
        self._container.stop()

    # -- what clients do

    def on_connection_bound(self, event: Event) -> None:
        sasl = event.transport.sasl()
        if self.sasl is not None:
            sasl.config_path(str(self.sasl))
            sasl.config_name("qpidd-peer")
        sasl.allow_insecure_mechs = True
        sasl.allowed_mechs(self.mechanisms)
        # Proton counts ANONYMOUS as none.
        event.transport.require_auth(self.mechanisms != "ANONYMOUS")

    def on_connection_opening(self, event: Event) -> None:
        self.users.append(event.connection.transport.user or "")
        event.connection.properties = {
            symbol("product"): "qpid-cpp",
            symbol("version"): "1.40.0",
            symbol("platform"): "Linux",
        }
        event.connection.offered_capabilities = [symbol(RELAY)]

    def on_link_remote_open(self, event: Event) -> None:
        link = event.link
        self.names |= {link.name, link.connection.remote_container}
        if link.is_sender:
            self._subscribe(link)
        else:
            self._publish(link)

    def on_link_remote_close(self, event: Event) -> None:
        self._bindings = [binding for binding in self._bindings if binding.sender != event.link]

    def on_disconnected(self, event: Event) -> None:
        self._bindings = [one for one in self._bindings if one.sender.connection != event.connection]

    def _subscribe(self, link: Sender) -> None:
        filters = {} if link.remote_source.filter is None else _filters(link.remote_source)
        address = link.remote_source.address
        self.attached.append((address, filters))
        if link.remote_source.dynamic:
            name = f"{link.connection.remote_container}_{link.name}"
            link.source.address = name
            self._bind(link, Binding(link, name, "", "queue"))
        elif address in EXCHANGES:
            link.source.address = address
            kind = EXCHANGES[address]
            self._bind(link, Binding(link, address, *_key(filters, kind)))
        else:
            _refuse(link, f"Node not found: {address}")

    def _bind(self, link: Sender, binding: Binding) -> None:
        link.snd_settle_mode = Link.SND_SETTLED
        link.open()
        self._bindings.append(binding)

    def _publish(self, link: Link) -> None:
        address = link.remote_target.address if link.remote_target.type else None
        if address is None or address in EXCHANGES or address in {one.node for one in self._bindings}:
            link.target.address = address
            link.open()
            link.flow(CREDIT)
        else:
            _refuse(link, f"Node not found: {address}")

    # -- messages

    def on_delivery(self, event: Event) -> None:
        delivery, link = event.delivery, event.link
        if not link.is_receiver or not delivery.readable or delivery.partial:
            return
        data = link.recv(delivery.pending) or b""
        link.advance()
        delivery.update(Delivery.ACCEPTED)
        delivery.settle()
        link.flow(1)
        message = Message()
        message.decode(data)
        target = link.target.address
        self.received.append((target, message.address, message.subject, data))
        self._route(target or message.address or "", message.subject or "", data)

    def _route(self, node: str, subject: str, data: bytes) -> None:
        for binding in self._bindings:
            if binding.wants(node, subject):
                binding.waiting.append(data)
                self._send(binding)

    def on_sendable(self, event: Event) -> None:
        for binding in self._bindings:
            if binding.sender == event.link:
                self._send(binding)

    def _send(self, binding: Binding) -> None:
        sender = binding.sender
        while binding.waiting and sender.credit > 0 and sender.state & Endpoint.LOCAL_ACTIVE:
            self._tag += 1
            delivery = sender.delivery(str(self._tag))
            sender.stream(binding.waiting.pop(0))
            sender.advance()
            delivery.settle()


def _filters(source: Terminus) -> dict[Any, Any]:
    source.filter.rewind()
    return source.filter.get_dict() if source.filter.next() is not None else {}


def _key(filters: Mapping[Any, Any], kind: str) -> tuple[str, str]:
    """The key and the kind of matching that the first filter asks for."""
    for wanted in filters.values():
        descriptor, key = (wanted.descriptor, wanted.value) if isinstance(wanted, Described) else ("", wanted)
        how = "direct" if descriptor in DIRECT_FILTERS else "topic" if descriptor in TOPIC_FILTERS else kind
        return str(key), how
    return ("#", kind) if kind == "topic" else ("", kind)


def _refuse(link: Link, reason: str) -> None:
    link.open()
    link.condition = Condition("amqp:not-found", reason)
    link.close()


if __name__ == "__main__":
    # Tells its URL; at the end of its input, who was there.
    with QpiddPeer(sys.argv[1], Path(sys.argv[2])) as running:
        print(running.url, flush=True)  # noqa: T201 - a test reads it
        sys.stdin.read()
        print(json.dumps(running.users), flush=True)  # noqa: T201 - as above
