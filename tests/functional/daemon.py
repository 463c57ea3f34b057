"""`vdsmd` as a child process, and its three clients, each as its users have it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self
from xmlrpc.client import ServerProxy

BIN = Path(sys.executable).parent
CONFIG = """\
[daemon]
state_dir = "{folder}/state"
run_dir = "{folder}"
user = "root"
required = ["virt", "xmlrpc", "rest"]
[hypervisor]
uri = "{uri}"
sample_interval = 0.5
[access]
loopback = "admin"
[plugin.xmlrpc]
port = 0
[plugin.rest]
port = 0
socket = "{folder}/api.sock"
"""


class Refused(Exception):
    """REST answered with an error: its status and its document."""


class Daemon:
    """One host's daemon over several lives: its state stays in `folder`.

    :param config: its configuration, with `folder` and `uri` to be filled in
    :param plugins: a folder of further distributions, as `PYTHONPATH` has it
    """

    def __init__(self, folder: Path, uri: str, config: str = CONFIG, plugins: Path | None = None) -> None:
        self.folder = folder
        self._environment = {**os.environ, **({"PYTHONPATH": str(plugins)} if plugins else {})}
        self._log = folder / "vdsmd.log"
        self._config = folder / "vdsm.toml"
        self._config.write_text(_impatient(config.format(folder=folder, uri=uri)))
        self._process: subprocess.Popen[bytes] | None = None
        self._xmlrpc_url = ""
        #: How it is started, without its arguments.
        self.command: list[str] = [str(BIN / "vdsmd")]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, within: float = 30.0) -> None:
        """Start it and wait until it answers.

        :param within: seconds
        """
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command, "--config", self._config], stdout=log, stderr=log, env=self._environment
            )
        try:
            self._xmlrpc_url = self._wait_for_xmlrpc(within)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> int:
        """End it as a service manager does; its exit code. It has 5 s."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        self._end(signal.SIGKILL)

    @property
    def xmlrpc_url(self) -> str:
        """Where XML-RPC listens."""
        return self._xmlrpc_url

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def address(self, binding: str, scheme: str) -> str:
        """Where a binding listens, by the scheme of the address; empty while it does not."""
        plugins = {plugin["name"]: plugin for plugin in self.rest("GET", "/api/host/plugins")}
        addresses: list[str] = plugins.get(binding, {}).get("address", [])
        return next((address for address in addresses if address.startswith(scheme)), "")

    def xmlrpc(self, method: str, *arguments: Any) -> dict[str, Any]:
        """Call a method as VDSM's clients do; the reply, without its status, which must be of success."""
        reply = self.reply(method, *arguments)
        status = reply.pop("status")
        assert status["code"] == 0, (method, status)
        return reply

    def reply(self, method: str, *arguments: Any) -> dict[str, Any]:
        """The same, with its status, whatever that is."""
        with ServerProxy(self._xmlrpc_url) as proxy:
            reply = getattr(proxy, method)(*arguments)
        assert isinstance(reply, dict)
        return reply

    def rest(self, method: str, path: str, body: Any = None) -> Any:
        """One request over the unix socket; the decoded body.

        :raises Refused: the status is not 2xx
        """
        connection = _UnixConnection(self.folder / "api.sock")
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        document = json.loads(content) if content else None
        if answer.status >= 300:
            raise Refused(answer.status, document)
        return document

    def vdsmsh(self, *arguments: str) -> str:
        """Run the command line; what it prints."""
        command = [BIN / "vdsmsh", "--url", f"unix://{self.folder}/api.sock", *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert answer.returncode == 0, (arguments, answer.returncode, answer.stderr)
        return answer.stdout

    def log(self) -> str:
        """The end of what it has logged, for the message of a failed test."""
        return self._log.read_text(errors="replace")[-6000:]

    def _wait_for_xmlrpc(self, within: float) -> str:
        """Where XML-RPC listens. Bindings come up one after the other: REST may answer before it does."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, f"vdsmd has ended:\n{self.log()}"
            with contextlib.suppress(OSError):
                if address := self.address("xmlrpc", "http"):
                    return address
            time.sleep(0.05)
        raise AssertionError(f"vdsmd does not answer:\n{self.log()}")

    def _end(self, how: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(how)
        try:
            return self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"vdsmd did not stop in 5 s:\n{self.log()}") from None


def _impatient(config: str) -> str:
    """Return a configuration in which a guest without an agent is up at once, unless it says otherwise."""
    if "agent_patience" in config or "virt" not in config:
        return config
    table, option = "[plugin.virt]\n", "agent_patience = 0\n"
    return config.replace(table, table + option, 1) if table in config else f"{config}\n{table}{option}"


class _UnixConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = os.fspath(path)

    def connect(self) -> None:
        """Connect to the socket instead of a host and port."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
