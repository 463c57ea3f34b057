"""A peer that speaks AMQP 1.0 as qpidd does, for what depends on that: addresses, filters, the relay, SASL.

qpidd itself is in no package that the tests could install. What this does was recorded of qpidd: nodes are
exchanges and queues by their bare names; a key is a filter of the link, the first one counts and none is
echoed; a link without one has `#` or the empty key; deliveries of subscriptions are settled; dynamic nodes
are called after container and link; messages to the anonymous relay go by `to` and `subject`, and are
accepted whether they can be routed or not. A message is released if one queue that it goes to is full, though
the others have got it. Who sends to a node that its ACL does not allow loses its whole connection. And there
is always one more agent, the broker's own. It stands on Proton's reactor and uses nothing of vdsm.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from proton import (
    Condition,
    Delivery,
    Described,
    Endpoint,
    Event,
    Link,
    Message,
    Sender,
    Terminus,
    symbol,
    uint,
    ulong,
    ushort,
)
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
TOPIC = "qmf.default.topic"
DIRECT = "qmf.default.direct"
LOCATE_KEY = "console.request.agent_locate"
#: Seconds between two of its heartbeats.
INTERVAL = 10
#: Another name that it answers to.
ALIAS = "broker"


def matches(pattern: list[str], key: list[str]) -> bool:
    """Whether a key fits a topic's pattern: `*` is one word, `#` any number."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return any(matches(pattern[1:], key[at:]) for at in range(len(key) + 1))
    return bool(key) and pattern[0] in ("*", key[0]) and matches(pattern[1:], key[1:])


class Binding:
    """A link to a client, and the messages for it."""

    def __init__(self, sender: Sender, node: str, key: str, kind: str) -> None:
        self.sender, self.node, self.key, self.kind = sender, node, key, kind
        self.waiting: list[bytes] = []

    def wants(self, node: str, subject: str) -> bool:
        if node != self.node:
            return False
        if self.kind == "topic":
            return matches(self.key.split("."), subject.split("."))
        return self.kind == "queue" or subject == self.key


class Routed(NamedTuple):
    """A message on its way: exchange or queue, routing key, bytes."""

    node: str
    key: str
    data: bytes


class BrokerAgent:
    """The management agent that qpidd has in itself, `apache.org:qpidd:UUID`. It has no objects here.

    It answers each locate request whatever its predicate; its texts are binary, and its messages have no
    `x-amqp-0-10.app-id`.
    """

    def __init__(self) -> None:
        self.instance = str(uuid.uuid4())
        self.name = f"apache.org:qpidd:{self.instance}"
        #: How many locate requests it has answered.
        self.located = 0

    def is_for(self, node: str, key: str) -> bool:
        """Whether a message is for it alone; such a one is not routed on."""
        return node == DIRECT and key in (ALIAS, self.name)

    def answer(self, node: str, key: str, message: Message) -> list[Routed]:
        """Its answers to a message that it sees."""
        properties = {_text(name): _text(value) for name, value in (message.properties or {}).items()}
        opcode = properties.get("qmf.opcode", "")
        if not message.reply_to or properties.get("x-amqp-0-10.app-id") != "qmf2":
            return []
        if opcode == "_agent_locate_request" and (key == LOCATE_KEY or self.is_for(node, key)):
            self.located += 1
            return [self._reply(message, "_agent_locate_response", "indication", self._attributes())]
        if not self.is_for(node, key):
            return []
        if opcode == "_query_request" and isinstance(message.body, dict):
            if _text(message.body.get("_what", "")) == "OBJECT":
                return [self._reply(message, "_query_response", "response", [])]
            return [self._refusal(message, 1, b"Query for _what is not supported")]
        return [self._refusal(message, 2, b"UnknownMethod")] if opcode == "_method_request" else []

    def heartbeat(self) -> Routed:
        """Return the heartbeat of the broker's own agent, sent every ten seconds."""
        key = f"agent.ind.heartbeat.apache_org.qpidd.{self.instance}"
        message = Message(body=self._attributes(), address=TOPIC, subject=key)
        message.inferred = False
        message.properties = self._properties("_agent_heartbeat_indication", "indication")
        return Routed(TOPIC, key, bytes(message.encode()))

    def _attributes(self) -> dict[str, Any]:
        return {
            "_values": {
                "_epoch": ushort(1),
                "_heartbeat_interval": ushort(INTERVAL),
                "_instance": self.instance.encode(),
                "_name": self.name.encode(),
                "_product": b"qpidd",
                "_timestamp": ulong(time.time_ns()),
                "_vendor": b"apache.org",
            }
        }

    def _properties(self, opcode: str, method: str) -> dict[str, Any]:
        return {"method": method, "qmf.agent": self.name, "qmf.opcode": opcode}

    def _refusal(self, message: Message, code: int, text: bytes) -> Routed:
        body = {"_values": {"error_code": uint(code), "error_text": text}}
        return self._reply(message, "_exception", "indication", body)

    def _reply(self, request: Message, opcode: str, method: str, body: Any) -> Routed:
        node, _, key = request.reply_to.partition("/")
        message = Message(body=body, address=node, subject=key or None)
        message.inferred = False
        message.content_type = symbol("amqp/map" if isinstance(body, Mapping) else "amqp/list")
        message.properties = self._properties(opcode, method)
        if isinstance(body, list):
            message.properties["qmf.content"] = "_data"
        if request.correlation_id is not None:
            message.correlation_id = str(request.correlation_id)
        return Routed(node, key, bytes(message.encode()))


class QpiddPeer(MessagingHandler):
    """`with QpiddPeer() as peer: ... peer.url`.

    :param mechanisms: those of SASL that it offers
    :param sasl: folder with the configuration of Cyrus SASL for them
    :param allowed: patterns of the exchanges and queues that its ACL lets clients send to
    :param queue: messages that fit into a queue
    """

    def __init__(
        self,
        mechanisms: str = "ANONYMOUS",
        sasl: Path | None = None,
        *,
        allowed: tuple[str, ...] = ("*",),
        queue: int = 100_000,
    ) -> None:
        super().__init__(prefetch=0, auto_accept=False)
        self.handlers.append(Handshaker())
        self.mechanisms, self.sasl = mechanisms, sasl
        self.allowed, self.queue = allowed, queue
        self.agent = BrokerAgent()
        self.url = ""
        #: What came in: the target's address (None: the relay), `to`, subject, bytes.
        self.received: list[tuple[str | None, str | None, str | None, bytes]] = []
        #: What was attached: address and the map of filters.
        self.attached: list[tuple[str | None, Any]] = []
        self.users: list[str] = []
        #: Names of containers and links.
        self.names: set[str] = set()
        #: What was sent without leave, and cost its sender the connection.
        self.offences: list[str] = []
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
        self._beat(event.container)
        self._ready.set()

    def on_timer_task(self, event: Event) -> None:
        self._beat(event.container)

    def _beat(self, container: Container) -> None:
        self._route(self.agent.heartbeat())
        self._timer = container.schedule(INTERVAL, self)

    def on_finish(self, _event: ApplicationEvent) -> None:
        self._timer.cancel()
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

    def on_connection_closed(self, event: Event) -> None:
        self.on_disconnected(event)

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
        message = Message()
        message.decode(data)
        target = link.target.address
        self.received.append((target, message.address, message.subject, data))
        node, key = target or message.address or "", message.subject or ""
        if not any(fnmatchcase(node, pattern) for pattern in self.allowed):
            self.offences.append(node)
            link.connection.condition = Condition("amqp:unauthorized-access", f"ACL denied publish to {node}")
            link.connection.close()
            return
        taken = self.agent.is_for(node, key) or self._route(Routed(node, key, data))
        delivery.update(Delivery.ACCEPTED if taken else Delivery.RELEASED)
        delivery.settle()
        link.flow(1)
        for answer in self.agent.answer(node, key, message):
            self._route(answer)

    def _route(self, message: Routed) -> bool:
        """Put a message into every queue that wants it. False: one of them is full."""
        taken = True
        for binding in self._bindings:
            if not binding.wants(message.node, message.key):
                continue
            if len(binding.waiting) >= self.queue:
                taken = False
                continue
            binding.waiting.append(message.data)
            self._send(binding)
        return taken

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
    """Return the key and the kind of matching of the first filter."""
    for wanted in filters.values():
        descriptor, key = (wanted.descriptor, wanted.value) if isinstance(wanted, Described) else ("", wanted)
        how = "direct" if descriptor in DIRECT_FILTERS else "topic" if descriptor in TOPIC_FILTERS else kind
        return str(key), how
    return ("#", kind) if kind == "topic" else ("", kind)


def _refuse(link: Link, reason: str) -> None:
    link.open()
    link.condition = Condition("amqp:not-found", reason)
    link.close()


def _text(value: Any) -> Any:
    return bytes(value).decode() if isinstance(value, (bytes, memoryview)) else value


if __name__ == "__main__":
    # Prints its URL; at the end of its input, the clients that connected.
    with QpiddPeer(sys.argv[1], Path(sys.argv[2])) as running:
        print(running.url, flush=True)  # noqa: T201 - a test reads it
        sys.stdin.read()
        print(json.dumps(running.users), flush=True)  # noqa: T201 - as above
