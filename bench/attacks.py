"""What clients that behave badly cost one that behaves: its times of reply, beside those without them.

Windows without and with an attack alternate within one run, so that other work on the machine falls on both.
The note of each row has the ratio of each pair of windows, and that of the quiet windows among themselves:
what is within the latter is noise.

The daemon, the client and the attackers are processes of their own. The daemon has the usual limit of 1,024
open files. Attackers have an address of their own, 127.0.0.2. As root, they are user nobody, so that they
are another party than the client; else they share the client's part of the connections, which the note of
each row says. VDSM_BENCH_ATTACKS selects attacks by parts of their names, separated by `|`;
VDSM_BENCH_ATTACK_SECONDS and VDSM_BENCH_ATTACK_ROUNDS are length and number of the windows. On a machine of
few cores, an attack that keeps the daemon or its own processes computing takes processor time from all: the
figures include that.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import multiprocessing
import os
import resource
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.attackers import ATTACKS, PING, REST_PING, Attack, Ports
from bench.load import TRUSTING
from bench.measure import Row

SECONDS: Final = float(os.environ.get("VDSM_BENCH_ATTACK_SECONDS", "3"))
ROUNDS: Final = int(os.environ.get("VDSM_BENCH_ATTACK_ROUNDS", "4"))
_NOBODY: Final = 65_534
_USUAL_FILES: Final = 1_024
#: Seconds from the end of an attack to the next quiet window.
_REST: Final = 1.0
#: Seconds between two calls of the client.
_PACE: Final = 0.01


class Times(NamedTuple):
    """The client's results: seconds of each call, and the number of calls without a good reply."""

    seconds: list[float]
    errors: int

    def share(self, part: float) -> float:
        """Return the time in seconds within which this part of the calls was answered."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


def run(seconds: float = SECONDS) -> list[Row]:
    """Each attack, one after the other, in windows between others without any."""
    rows = []
    with _process(_daemon) as daemon:
        ports = Ports(*daemon.recv())
        _measure(ports, 1.0)
        wanted = os.environ.get("VDSM_BENCH_ATTACKS", "").split("|")
        for name, attack in ATTACKS.items():
            if any(part in name for part in wanted):
                rows += _rows(name, [_pair(attack, ports, seconds) for _ in range(ROUNDS)])
    return rows


class Pair(NamedTuple):
    """The client's results in a quiet window, and in the one under an attack that follows."""

    calm: Times
    attacked: Times

    def ratio(self, part: float) -> float:
        """How many times as long this part of the calls took under the attack."""
        return self.attacked.share(part) / self.calm.share(part)


def _pair(attack: Attack, ports: Ports, seconds: float) -> Pair:
    calm = _measure(ports, seconds)
    with _process(_attacker, attack, ports) as attacker:
        attacker.recv()
        attacked = _measure(ports, seconds)
    time.sleep(_REST)
    return Pair(calm, attacked)


def _rows(name: str, pairs: list[Pair]) -> list[Row]:
    party = "" if os.geteuid() == 0 else ", attackers of the same user"
    calm, attacked = (_together([pair[side] for pair in pairs]) for side in (0, 1))
    rows = []
    for unit, part in (("p50", 0.5), ("p99", 0.99)):
        ratios = " ".join(f"{pair.ratio(part):.1f}" for pair in pairs)
        quiet = [pair.calm.share(part) for pair in pairs]
        note = (
            f"pairs {ratios}, quiet among themselves up to {max(quiet) / min(quiet):.1f}, "
            f"{len(attacked.seconds)} calls, {attacked.errors} failed, "
            f"longest {max(attacked.seconds) * 1e3:.0f} ms, load {os.getloadavg()[0]:.1f}{party}"
        )
        row = Row(
            bench="good client under attack",
            case=name,
            unit=f"ms {unit}",
            value=attacked.share(part) * 1e3,
            yardstick=calm.share(part) * 1e3,
            yardstick_name="the same client in windows between",
            note=note,
        )
        rows.append(row)
    return rows


def _together(several: list[Times]) -> Times:
    seconds = [each for times in several for each in times.seconds]
    return Times(seconds, sum(times.errors for times in several))


@contextmanager
def _process(target: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=target, args=(there, *arguments), daemon=True)
    process.start()
    there.close()  # so that the end of the process is the end of what it sends
    try:
        yield here
    finally:
        with suppress(OSError):
            here.send("stop")
        process.join(20)
        if process.is_alive():
            process.kill()
            process.join()


def _daemon(pipe: Connection) -> None:
    # Only this process needs them.
    from vdsm_bridge.daemon.main import share_the_interpreter, spare_the_heap  # noqa: PLC0415
    from vdsm_bridge.testing import TestHost  # noqa: PLC0415
    from vdsm_bridge.testing.certificates import TestPki  # noqa: PLC0415

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_USUAL_FILES, hard))
    folder = contextlib.ExitStack()
    config = {
        "daemon": {"log_level": "CRITICAL"},
        "plugin": {"xmlrpc": {"port": 0, "tls": "optional"}, "rest": {"port": 0, "tls": "optional"}},
        "tls": TestPki(Path(folder.enter_context(tempfile.TemporaryDirectory()))).options,
    }
    with folder, TestHost(installed=True, config=config) as host:
        ports = {
            plugin.name: int(plugin.address[0].split(":")[2].split("/")[0])
            for plugin in host.host.plugins()
            if plugin.name in {"xmlrpc", "rest"}
        }
        spare_the_heap()
        share_the_interpreter()
        pipe.send((ports["xmlrpc"], ports["rest"]))
        pipe.recv()


# The client.


def _measure(ports: Ports, seconds: float) -> Times:
    with _process(_client, ports, seconds) as pipe:
        return Times(*pipe.recv())


def _client(pipe: Connection, ports: Ports, seconds: float) -> None:
    """Call at a steady pace: XML-RPC, REST and XML-RPC over TLS, on a kept connection and on new ones."""
    kept: dict[tuple[int, bool], socket.socket] = {}
    times: list[float] = []
    errors = 0
    requests = ((ports.xmlrpc, PING, False), (ports.rest, REST_PING, False), (ports.xmlrpc, PING, True))
    calls = itertools.cycle((*request, keep) for keep in (True, False) for request in requests)
    end = time.monotonic() + seconds
    while (begun := time.monotonic()) < end:
        port, request, secured, keep = next(calls)
        try:
            sock = kept.pop((port, secured), None) if keep else None
            if sock is None:
                sock = socket.create_connection(("127.0.0.1", port), timeout=10)
                sock = TRUSTING.wrap_socket(sock) if secured else sock
            sock.sendall(request)
            errors += not _reply(sock).startswith(b"HTTP/1.1 2")
            if keep:
                kept[port, secured] = sock
            else:
                sock.close()
        except OSError:
            errors += 1
        times.append(time.monotonic() - begun)
        time.sleep(max(0.0, _PACE - times[-1]))
    pipe.send((times, errors))


def _reply(sock: socket.socket) -> bytes:
    received = b""
    while True:
        piece = sock.recv(65_536)
        if not piece:
            return received
        received += piece
        head, end, body = received.partition(b"\r\n\r\n")
        if end:
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if len(body) >= length:
                return received


# The attackers.


def _attacker(pipe: Connection, attack: Attack, ports: Ports) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    if os.geteuid() == 0:
        # What an address of the socket module needs; nobody may not be able to read it later.
        codecs.lookup("idna")
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    step = attack(ports)
    next(step)
    pipe.send("ready")
    while not pipe.poll():
        next(step)
