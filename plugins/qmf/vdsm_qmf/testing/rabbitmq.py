"""A RabbitMQ for tests, with a node name, folder, ports, cookie and port mapper of its own.

It needs Debian's package `rabbitmq-server`, or its equivalent, with the plugin `rabbitmq_amqp1_0`. It runs
without root and listens on loopback only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import msgspec

from vdsm_bridge.testing.ports import free_ports
from vdsm_qmf.topology import definitions

#: Folders of the programs in Debian and elsewhere; the wrapper of that name requires root or its own user.
_HOMES: Final = ("/usr/lib/rabbitmq/lib", "/usr/lib/rabbitmq", "/opt/rabbitmq", "/usr/local/lib/rabbitmq")
#: The user of every instance and its password, which give access to brokers of tests only.
USER: Final = "guest"
PASSWORD: Final = "guest"  # noqa: S105
_PATIENCE: Final = 60.0


class BrokerFailed(Exception):
    """The broker cannot be started. The text is the end of its log."""


class TlsFiles(NamedTuple):
    """Files for TLS: the authority of the clients' certificates, the broker's certificate and its key."""

    ca: Path
    cert: Path
    key: Path


class RabbitMQ:
    """One broker. `with RabbitMQ(folder) as broker: ... broker.url`.

    :param folder: for its data; the caller removes it
    :param users: further users with their passwords
    :param tls: enables TLS on `secure_port`, with client certificates as credentials: the common name is the
        user
    """

    def __init__(
        self, folder: Path, *, users: dict[str, str] | None = None, tls: TlsFiles | None = None
    ) -> None:
        self.folder = folder
        self.users = {USER: PASSWORD, **(users or {})}
        self.port = 0
        self.secure_port = 0
        self._tls = tls
        self._mapper: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._mapper_port = 0
        self._dist_port = 0

    @property
    def url(self) -> str:
        """The URL with the user."""
        return f"amqp://{USER}@127.0.0.1:{self.port}"

    @property
    def process(self) -> int:
        """The id of its process, the leader of a session."""
        assert self._server is not None
        return self._server.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the broker, and wait until it accepts connections. After `kill` it has the same port again.

        :raises BrokerFailed: the broker is not installed, or does not start
        """
        self.prepare()
        try:
            if self._mapper is None:
                self._start_mapper()
            self._start_server()
        except BaseException:
            self.stop()
            raise

    def prepare(self) -> None:
        """Choose the ports and write the files, which may be changed before `start`."""
        if not self.port:
            self.port, self.secure_port, self._mapper_port, self._dist_port = free_ports(4)
            self._write_files()

    def kill(self) -> None:
        """Kill the broker, as a power failure does."""
        self._end_server(signal.SIGKILL)

    def pause(self) -> None:
        """Suspend the broker: its connections stay open and are not read."""
        os.killpg(self.process, signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the broker."""
        os.killpg(self.process, signal.SIGCONT)

    def stop(self) -> None:
        """Kill the broker and its port mapper."""
        self._end_server(signal.SIGKILL)
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()
            self._mapper = None

    def _start_mapper(self) -> None:
        program = shutil.which("epmd")
        if program is None:
            raise BrokerFailed("epmd, a part of Erlang, is not installed")
        arguments = [program, "-port", str(self._mapper_port), "-address", "127.0.0.1"]
        self._mapper = subprocess.Popen(  # noqa: S603 - a fixed program
            arguments, env=self._environment(), stderr=subprocess.DEVNULL
        )
        _until_listening(self._mapper_port, self._mapper, self.folder / "none")

    def _start_server(self) -> None:
        log = self.folder / "server.log"
        with log.open("ab") as output:
            self._server = subprocess.Popen(  # noqa: S603 - a fixed program
                [str(_program("rabbitmq-server"))],
                env=self._environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=self.folder,
            )
        _until_listening(self.port, self._server, log)

    def _end_server(self, number: int) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        # The session includes the processes that the broker has started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        server.wait()
        # The process is a script; the Erlang machine below it releases the port a little later.
        _until_silent(self.port)

    def _write_files(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        document = definitions(self.users)
        (self.folder / "definitions.json").write_bytes(msgspec.json.encode(document))
        plugins = "rabbitmq_amqp1_0" if self._tls is None else "rabbitmq_amqp1_0,rabbitmq_auth_mechanism_ssl"
        (self.folder / "enabled_plugins").write_text(f"[{plugins}].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"load_definitions = {self.folder}/definitions.json\n"
            "loopback_users = none\n"
            "log.console = false\nlog.file.level = warning\n"
            "disk_free_limit.absolute = 10MB\n" + self._tls_lines()
        )

    def _tls_lines(self) -> str:
        if self._tls is None:
            return ""
        return (
            f"listeners.ssl.1 = 127.0.0.1:{self.secure_port}\n"
            f"ssl_options.cacertfile = {self._tls.ca}\n"
            f"ssl_options.certfile = {self._tls.cert}\n"
            f"ssl_options.keyfile = {self._tls.key}\n"
            "ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = false\n"
            "auth_mechanisms.1 = EXTERNAL\nauth_mechanisms.2 = PLAIN\n"
            "ssl_cert_login_from = common_name\n"
        )

    def _environment(self) -> dict[str, str]:
        folder = self.folder
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"vdsm{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "no-such-file"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            # One scheduler, not spinning: the machine has other work.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
            ),
        }


def _program(name: str) -> Path:
    for home in _HOMES:
        for path in sorted(Path(home).glob(f"rabbitmq_server-*/sbin/{name}"), reverse=True):
            return path
        if (path := Path(home) / "sbin" / name).exists():
            return path
    raise BrokerFailed(f"{name} is not installed (Debian: rabbitmq-server)")


def _until_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        if process.poll() is not None or time.monotonic() > end:
            logged = log.read_text("utf-8", "replace")[-2000:] if log.exists() else ""
            raise BrokerFailed(f"nothing listens on port {port}; {logged}")
        time.sleep(0.05)


def _until_silent(port: int) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            return
        time.sleep(0.01)
