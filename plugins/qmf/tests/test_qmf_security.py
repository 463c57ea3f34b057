"""Authentication at real brokers: passwords, TLS, certificates, SCRAM, and what is never attempted."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from proton import Message

from vdsm_bridge.testing.polling import until
from vdsm_bridge.transport import CallOptions, Credentials
from vdsm_bridge.transport import Unreachable as TransportUnreachable
from vdsm_qmf.bus import BadBroker, Broker, Security, parse_url, read_password
from vdsm_qmf.bus.security import choose_mechanisms
from vdsm_qmf.console import CallRefused, Cluster, Unreachable
from vdsm_qmf.protocol.message import Address
from vdsm_qmf.testing import PASSWORD, USER, RabbitMQ, TlsFiles
from vdsm_qmf.transport import BusTransport

from .amqp_bytes import plain
from .certificates import Authority, Pair
from .conftest import BusHost, MakeHost, options, password_file
from .probe import Probe

FAR = Broker(host="broker.example", port=5672, user="u")
FAR_TLS = Broker(host="broker.example", port=5671, tls=True, user="u")
NEAR = Broker(host="127.0.0.1", port=5672)
SECRET = "a secret of the test"
LAMP = "00000000-0000-4000-8000-000000000011"
METHOD = {"qmf.opcode": "_method_request"}
PING = {"_method_name": "Host.ping"}
PEER = Path(__file__).with_name("qpidd_peer.py")


class Safe:
    """A broker with TLS, and the certificates around it."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.stranger = Authority(folder / "ca"), Authority(folder / "other")
        self.client = {name: self.authority.issue(name) for name in ("engine", "node")}
        server = self.authority.issue("server", "localhost")
        self.broker = RabbitMQ(
            folder / "broker",
            users={"engine": "not this way", "node": "not this way"},
            tls=TlsFiles(self.authority.cert, *server),
        )

    def url(self, user: str = "", host: str = "localhost") -> str:
        return f"amqps://{user}{'@' if user else ''}{host}:{self.broker.secure_port}"

    def options(self, pair: Pair) -> dict[str, Any]:
        return {"ca_file": str(self.authority.cert), "cert_file": str(pair.cert), "key_file": str(pair.key)}


@pytest.fixture(scope="module")
def safe() -> Iterator[Safe]:
    with tempfile.TemporaryDirectory(prefix="vdsm-broker-") as folder:
        safe = Safe(Path(folder))
        with safe.broker:
            yield safe


# -- before anything is sent


@pytest.mark.parametrize(
    ("broker", "security", "expected"),
    [
        (FAR_TLS, Security(), ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN")),
        (FAR, Security(), ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1")),
        (FAR, Security(mechanisms=("SCRAM-SHA-256",)), ("SCRAM-SHA-256",)),
        (FAR_TLS, Security(cert_file="c", mechanisms=("EXTERNAL",)), ("EXTERNAL",)),
        (NEAR, Security(anonymous=True), ("ANONYMOUS",)),
        (
            NEAR,
            Security(user="u"),
            ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"),
        ),
    ],
)
def test_mechanisms(broker: Broker, security: Security, expected: tuple[str, ...]) -> None:
    """The best first; a password in the clear on loopback and in TLS only; anonymous by option only."""
    assert choose_mechanisms(broker, security) == expected


@pytest.mark.parametrize(
    ("broker", "security", "message"),
    [
        (FAR, Security(anonymous=True), "'anonymous' is allowed for brokers on loopback only"),
        (FAR_TLS, Security(anonymous=True), "'anonymous' is allowed for brokers on loopback only"),
        (NEAR, Security(), "there are no credentials"),
        (FAR, Security(mechanisms=("PLAIN",)), "PLAIN would send the password in the clear"),
        (FAR, Security(cert_file="c", mechanisms=("EXTERNAL",)), "EXTERNAL needs amqps:// and a certificate"),
        (FAR_TLS, Security(mechanisms=("EXTERNAL",)), "EXTERNAL needs amqps:// and a certificate"),
        (NEAR, Security(mechanisms=("SCRAM-SHA-1",)), "SCRAM-SHA-1 needs a user"),
        (NEAR, Security(user="u", mechanisms=("ANONYMOUS",)), "ANONYMOUS needs the option 'anonymous'"),
        (NEAR, Security(user="u", mechanisms=("GSSAPI",)), "'GSSAPI' is none of "),
    ],
)
def test_what_is_never_tried(broker: Broker, security: Security, message: str) -> None:
    """The binding does not start, and its error has the reason."""
    with pytest.raises(BadBroker, match=message):
        choose_mechanisms(broker, security)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://broker", "the URL must begin with amqp:// or amqps://"),
        ("amqp://", "the URL has no host"),
        ("amqp://broker:none", "the port must be a number from 1 to 65535"),
        ("amqp://broker:99999", "the port must be a number from 1 to 65535"),
    ],
)
def test_what_is_no_url(url: str, reason: str) -> None:
    """It is refused in words, without the password that may be in it."""
    with pytest.raises(BadBroker, match=reason) as caught:
        parse_url(url.replace("://", "://user:secret@"))
    assert "secret" not in str(caught.value)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    """Neither in representations nor in a URL; and a file that others may read is not taken."""
    broker, password, path = parse_url("amqps://u%40x:p%2Fw@[::1]/host")
    assert (password, path, broker.port, broker.user) == ("p/w", "host", 5671, "u@x")
    assert str(broker) == "amqps://u%40x@[::1]:5671"
    assert SECRET not in repr(Security(user="u", password=SECRET))
    file = Path(password_file(tmp_path, f"{SECRET}\n"))
    assert read_password(str(file)) == SECRET
    file.chmod(0o640)
    with pytest.raises(BadBroker, match="others may read the password file"):
        read_password(str(file))
    with pytest.raises(BadBroker, match="cannot read the password file"):
        read_password(str(tmp_path / "none"))


def test_a_password_in_the_configuration(tmp_path: Path) -> None:
    """It is refused: the binding does not start, and the daemon goes on."""
    host = BusHost({"plugin": {"qmf": options(f"amqp://u:{SECRET}@127.0.0.1:1", tmp_path)}}, None)
    with host:
        (plugin,) = (one for one in host.host.plugins() if one.name == "qmf")
        assert "a password in a URL is visible to others" in str(plugin.error)
        assert SECRET not in str(plugin.error)


def test_a_broker_that_stays_away_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """However often a host tries: the log warns of each reason once, until there was a connection."""
    caplog.set_level(logging.DEBUG)
    table = options("amqp://u@127.0.0.1:1", tmp_path, reconnect_first=0.02, reconnect_most=0.05)

    def output(level: int) -> list[str]:
        records = [record for record in caplog.records if record.getMessage().startswith("No connection to")]
        return [record.getMessage() for record in records if record.levelno == level]

    with BusHost({"plugin": {"qmf": table}}, None):
        until(lambda: len(output(logging.DEBUG)) >= 3)
    assert output(logging.WARNING) == ["No connection to the broker amqp://u@127.0.0.1:1: Connection refused"]


# -- with real brokers


def test_wrong_password(broker: RabbitMQ, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The console gets the reason; an agent is degraded and goes on trying; no log has the password."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Unreachable, match=r"cannot reach the message bus: .*uthentication failed"):
        Cluster(broker.url, password=SECRET).start(60.0)
    table = options(broker.url, tmp_path, instance="h")
    table["password_file"] = password_file(tmp_path, SECRET)
    with BusHost({"plugin": {"qmf": table}}, None) as host:
        until(lambda: "uthentication failed" in host.made[-1].health().reason)
        assert host.made[-1].health().state == "degraded"
        assert "uthentication failed" in host.made[-1].health().reason
    assert SECRET not in caplog.text


def test_password_in_tls(safe: Safe, on_bus: MakeHost) -> None:
    """With the authority of the broker's certificate, agent and console meet over TLS."""
    ca = str(safe.authority.cert)
    on_bus("h", url=safe.url(USER), ca_file=ca)
    with Cluster(safe.url(USER), security=Security(password=PASSWORD, ca_file=ca)) as cluster:
        cluster.wait_for("h")
        assert cluster.call("h", "Room.whisper") == USER


@pytest.mark.parametrize("what", ["authority", "name"])
def test_a_broker_that_is_not_the_one(safe: Safe, what: str) -> None:
    """A certificate of another authority, or for another name: no password is sent."""
    ca = safe.stranger.cert if what == "authority" else safe.authority.cert
    url = safe.url(USER, "localhost" if what == "authority" else "127.0.0.1")
    cluster = Cluster(url, security=Security(password=PASSWORD, ca_file=str(ca)))
    with pytest.raises(Unreachable, match="certificate verify failed"):
        cluster.start(60.0)


def test_certificates_are_identities(safe: Safe, on_bus: MakeHost) -> None:
    """EXTERNAL: no password anywhere; the common name is the user, and the host decides its role."""
    access = {"bus_users": {"engine": "operator"}}
    on_bus(
        "h",
        url=safe.url("node"),
        access=access,
        mechanisms=["EXTERNAL"],
        password_file="",
        **safe.options(safe.client["node"]),
    )
    security = Security(user="engine", mechanisms=("EXTERNAL",), **safe.options(safe.client["engine"]))
    with Cluster(safe.url(), security=security) as cluster:
        cluster.wait_for("h")
        assert cluster.call("h", "Room.add", {"left": 1}) == 2
        with pytest.raises(CallRefused, match="engine") as caught:
            cluster.call("h", "Room.whisper")
    assert caught.value.slug == "forbidden"


def test_a_transport_shows_the_certificate_of_its_credentials(safe: Safe, on_bus: MakeHost) -> None:
    """A host that calls another one in a migration shows its own; an unknown broker is sent nothing."""
    access = {"bus_users": {"engine": "operator"}}
    node = safe.options(safe.client["node"])
    on_bus("h", url=safe.url("node"), access=access, mechanisms=["EXTERNAL"], password_file="", **node)
    pair = safe.client["engine"]
    files = {"certificate": str(pair.cert), "key": str(pair.key)}
    transport = BusTransport(f"{safe.url('engine')}/h", Credentials(ca=str(safe.authority.cert), **files), {})
    try:
        assert transport.call("Room.add", {"left": 1}, CallOptions(timeout=60)) == 2
    finally:
        transport.close()
    transport = BusTransport(f"{safe.url('engine')}/h", Credentials(ca=str(safe.stranger.cert), **files), {})
    with pytest.raises(TransportUnreachable, match="certificate verify failed"):
        transport.call("Room.add", {"left": 1}, CallOptions(timeout=60))
    transport.close()


def test_a_certificate_of_a_stranger(safe: Safe) -> None:
    """A certificate that the broker's authority did not issue is refused."""
    pair = safe.stranger.issue("engine")
    security = Security(user="engine", mechanisms=("EXTERNAL",), **safe.options(pair))
    with pytest.raises(Unreachable, match="cannot reach the message bus"):
        Cluster(safe.url(), security=security).start(4.0)


def test_anonymous(broker: RabbitMQ, on_bus: MakeHost) -> None:
    """By explicit option, on loopback: callers have the role of loopback, whatever user they claim."""
    url = broker.url.replace(f"{USER}@", "")
    on_bus("h", url=url, anonymous=True, password_file="", access={"loopback": "monitor"})
    with Cluster(url, security=Security(anonymous=True)) as cluster:
        cluster.wait_for("h")
        assert cluster.call("h", "Room.add", {"left": 1}) == 2
    with Cluster(broker.url, password=PASSWORD) as cluster:
        cluster.wait_for("h")
        with pytest.raises(CallRefused, match="loopback") as caught:
            cluster.call("h", "Room.whisper")
    assert caught.value.slug == "forbidden"


@pytest.fixture
def sasl(tmp_path: Path) -> Path:
    """A folder with Cyrus SASL's configuration of a server, and a user in its database."""
    folder = tmp_path / "sasl"
    folder.mkdir()
    database = folder / "users.db"
    subprocess.run(
        ["saslpasswd2", "-c", "-p", "-f", database, "-u", socket.gethostname(), "engine"],
        input=SECRET,
        text=True,
        check=True,
        capture_output=True,
    )
    (folder / "qpidd-peer.conf").write_text(
        f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {database}\n"
    )
    return folder


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_scram(sasl: Path, mechanism: str) -> None:
    """A server with Cyrus SASL, as qpidd is one, authenticates the user without receiving the password."""
    # In a process of its own: Cyrus SASL reads the configuration of a server once in a process.
    command = [sys.executable, PEER, mechanism, str(sasl)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        url = peer.stdout.readline().strip().replace("//", "//engine@")
        with Cluster(url, security=Security(password=SECRET, mechanisms=(mechanism,))):
            pass
        with pytest.raises(Unreachable, match="uthentication failed"):
            Cluster(url, security=Security(password="wrong", mechanisms=(mechanism,))).start(60.0)
        peer.stdin.close()
        (user,) = json.loads(peer.stdout.readline())
        assert user.partition("@")[0] == "engine"


class Strict(RabbitMQ):
    """A broker with the permissions of the how-to: a host's user, and an engine's."""

    #: Every user makes queues of its own only, and may use the two exchanges.
    OWN = r"^amq\.gen-.*"
    BOTH = r"^(amq\.gen-.*|qmf\.default\.(topic|direct))$"
    #: What each may send to the topic exchange, and receive there.
    TOPICS = {
        "node": (r"^agent\.ind\..*", r"^console\.request\.agent_locate$"),
        "engine": (r"^console\.request\.agent_locate$", r"^agent\.ind\..*"),
    }

    def _write_files(self) -> None:
        super()._write_files()
        file = self.folder / "definitions.json"
        document = json.loads(file.read_text())
        document["permissions"] = [
            {"user": name, "vhost": "/", "configure": self.OWN, "write": self.BOTH, "read": self.BOTH}
            for name in self.users
        ]
        document["topic_permissions"] = [
            {"user": name, "vhost": "/", "exchange": "qmf.default.topic", "write": write, "read": read}
            for name, (write, read) in self.TOPICS.items()
        ]
        file.write_text(json.dumps(document))


def test_permissions_of_the_howto(on_bus: MakeHost, tmp_path: Path) -> None:
    """With them hosts and engine work, and an engine's user cannot pretend to be a host."""
    with Strict(tmp_path / "strict", users={"node": PASSWORD, "engine": PASSWORD}) as broker:
        node, engine = (broker.url.replace(USER, name) for name in ("node", "engine"))
        host = on_bus("h", url=node, access={"bus_users": {"engine": "admin"}})
        host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
        with Cluster(engine, password=PASSWORD) as cluster:
            cluster.wait_for("h")
            assert cluster.call("h", "Room.whisper") == "engine"
            with cluster.events("|sample|switched") as stream:
                host.call("Lamp.switch", lampID=LAMP, lit=True)
                assert stream.next(10.0) is not None
            with Probe(engine, user="engine", password=PASSWORD) as probe:
                for exchange in ("qmf.default.topic", "amq.direct", "amq.topic", "none"):
                    # An answer to where the host may not send would end its session.
                    reply_to = f"/exchange/{exchange}/a"
                    probe.send(PING, METHOD, to="vdsm:vdsmd:h", cid=exchange, reply_to=reply_to)
                probe.send(PING, METHOD, to="vdsm:vdsmd:h", cid="last")
                assert "_arguments" in plain(probe.answer("last")["amqp-value"])
                assert host.agent.bus.connections == 1
                before = probe.connections
                forged = {"_values": {"_name": "vdsm:vdsmd:forged", "_heartbeat_interval": 1}}
                message = Message(body=forged, properties={"qmf.opcode": "_agent_heartbeat_indication"})
                address = Address("qmf.default.topic", "agent.ind.heartbeat.vdsm.vdsmd.forged")
                message.subject = address.key
                probe.raw(bytes(message.encode()), address)
                until(
                    lambda before=before: probe.connections > before,
                    what="RabbitMQ to end the session of who may not",
                )
            assert cluster.living() == ["h"]
