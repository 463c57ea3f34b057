"""What one `vdsmsh` command costs, of a whole process: people run it in loops, and with each press of Tab.

The yardstick is a Python that asks the same host for the same list with the standard library, and prints it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import Row
from vdsm_bridge.testing import TestHost

_SHELL = str(Path(sys.executable).parent / "vdsmsh")
_BARE = """
import http.client, json, socket, sys
connection = http.client.HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
connection.request("GET", "/api/lamps")
print(json.loads(connection.getresponse().read()))
"""
_CASES = {
    "one list": [_SHELL, "lamp", "list"],
    "completing a name": [_SHELL, "__complete", "bash", "vdsmsh lamp info "],
}


def run(rounds: int = 15) -> list[Row]:
    """Processor time of a list and of a completion."""
    from vdsm_rest import RestBinding  # noqa: PLC0415 - after the benches that need no REST

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/api.sock"
        config = {"plugin": {"rest": {"socket": path, "address": "127.0.0.1", "port": 0}}}
        with TestHost(bindings={"rest": RestBinding}, config=config) as host:
            for number in range(2):
                name = f"00000000-0000-4000-8000-{number:012d}"
                host.call("Lamp.create", lamp={"lampID": name, "name": f"lamp {number}"})
            variables = {**os.environ, "VDSM_URL": f"unix://{path}", "XDG_CACHE_HOME": folder, "HOME": folder}
            return [_row(case, command, path, variables, rounds) for case, command in _CASES.items()]


def _row(case: str, command: list[str], path: str, variables: dict[str, str], rounds: int) -> Row:
    """Measure both in turn: a drift of the machine hits both alike. The best round counts."""
    bare = [sys.executable, "-c", _BARE, path]
    costs = [(_cost(command, variables), _cost(bare, variables)) for _ in range(rounds)]
    return Row(
        bench="vdsmsh",
        case=case,
        unit="s of CPU",
        value=min(cost for cost, _ in costs),
        yardstick=min(cost for _, cost in costs),
        yardstick_name="http.client and json",
    )


def _cost(command: list[str], variables: dict[str, str]) -> float:
    """Seconds of CPU that a process took, with those that it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, timeout=60, env=variables)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
