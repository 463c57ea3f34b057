"""Which host is meant."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vdsm_bridge.transport import CallOptions, Credentials, Unreachable
from vdsmsh.connection.rest import RestTransport
from vdsmsh.connection.target import choose_url, connect, credentials
from vdsmsh.errors import UsageError

Listen = Callable[[Path], None]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """A function that listens on a unix socket until the test ends."""
    opened: list[socket.socket] = []

    def start(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened.append(socket.socket(socket.AF_UNIX))
        opened[-1].bind(str(path))
        opened[-1].listen()

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def write_config(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that writes the configuration of an ordinary user."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    file = home / "xdg_config_home" / "vdsm" / "vdsm.toml"

    def write(text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return write


def test_order() -> None:
    """What is given goes before the environment."""
    assert choose_url("http://a", {"VDSM_URL": "http://b"}) == "http://a"
    assert choose_url("", {"VDSM_URL": "http://b"}) == "http://b"


def test_socket_of_the_configuration(home: Path, write_config: Callable[[str], None], listen: Listen) -> None:
    """The socket that the REST binding is configured with."""
    write_config(f'[plugin.rest]\nsocket = "{home}/own.sock"\n')
    listen(home / "own.sock")
    assert choose_url("", {}) == f"unix://{home}/own.sock"


def test_socket_in_the_run_folder(home: Path, write_config: Callable[[str], None], listen: Listen) -> None:
    """The usual socket in the folder for sockets."""
    write_config("")
    listen(home / "xdg_runtime_dir" / "vdsm" / "api.sock")
    assert choose_url("", {}) == f"unix://{home}/xdg_runtime_dir/vdsm/api.sock"


def test_dead_socket(home: Path, write_config: Callable[[str], None], listen: Listen) -> None:
    """A socket without a listener is ignored in favour of the configured port."""
    write_config(f'[daemon]\nrun_dir = "{home}"\n[plugin.rest]\nport = 8099\naddress = "::1"\n')
    assert choose_url("", {}) == "http://[::1]:8099"


def test_forbidden_socket(
    home: Path, write_config: Callable[[str], None], listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket that this user may not use is meant all the same: its error helps, that of TCP does not."""

    def connect(_self: socket.socket, path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    write_config(f'[daemon]\nrun_dir = "{home}"\n')
    monkeypatch.setattr(socket.socket, "connect", connect)
    assert choose_url("", {}) == f"unix://{home}/api.sock"
    assert choose_url("", {}, token=True) == "http://127.0.0.1:8088"
    with pytest.raises(
        Unreachable, match="Permission denied; run vdsmsh as root or as a member of the group of that socket"
    ):
        RestTransport(f"unix://{home}/api.sock", Credentials()).call("Host.ping", {}, CallOptions())


def test_several_addresses(home: Path, write_config: Callable[[str], None]) -> None:
    """Of several addresses of REST, the first one is called."""
    write_config(f'[daemon]\nrun_dir = "{home}"\n[plugin.rest]\naddress = ["::1", "127.0.0.1"]\n')
    assert choose_url("", {}) == "http://[::1]:8088"


def test_socket_with_a_long_path(home: Path, write_config: Callable[[str], None]) -> None:
    """A path that cannot be that of a socket is passed over."""
    write_config(f'[daemon]\nrun_dir = "{home}/{"ü" * 90}"\n')
    assert choose_url("", {}) == "http://127.0.0.1:8088"


def test_last_resort(home: Path, write_config: Callable[[str], None]) -> None:
    """Without any sign of a host, the usual port; also where the configuration is broken."""
    write_config("")
    assert choose_url("", {}) == "http://127.0.0.1:8088"
    write_config("[[[")
    assert choose_url("", {}) == "http://127.0.0.1:8088"


def test_token_of_the_environment() -> None:
    """The token is taken from the environment; its representation does not show it."""
    proof = credentials("", {"VDSM_TOKEN": " hush "})
    assert (proof.token, proof.token_source) == ("hush", "$VDSM_TOKEN")
    assert "hush" not in repr(proof)


def test_token_file(tmp_path: Path) -> None:
    """A file goes before the environment."""
    file = tmp_path / "token"
    file.write_text("quiet\n")
    assert credentials(str(file), {"VDSM_TOKEN": "hush"}).token == "quiet"
    file.write_bytes(b"\xff\xff")
    with pytest.raises(UsageError, match="it is not UTF-8 text"):
        credentials(str(file), {})


def test_no_token() -> None:
    """No token is no token."""
    assert credentials("", {}).token == ""


def test_transport_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The distribution that serves a scheme is named; whether it is installed here must not matter."""
    monkeypatch.setattr("vdsm_bridge.client.opening.GROUP", "vdsm.transports.of.nobody")
    with pytest.raises(UsageError, match="no installed package serves amqp:// URLs; install vdsm-qmf"):
        connect("amqp://broker.example", Credentials())
