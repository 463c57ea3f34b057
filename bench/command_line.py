"""What one `vdsmsh` command costs, of a whole process: people run it in loops, and with each press of Tab.

The yardstick is a Python that asks the same host for the same list with the standard library, and prints it.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import vdsmsh
from bench.measure import Row
from vdsm_bridge.testing import TestHost

_SHELL = str(Path(sys.executable).parent / "vdsmsh")
_URI = "qemu:///system"
_SOCKET = "/run/libvirt/libvirt-sock"
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
#: Quick lines, beside virsh where it is installed; without `site`, which takes as long as all the rest in an
#: environment of editable packages.
_QUICK = "import sys; sys.path.insert(0, {path!r}); from vdsmsh.main import main; sys.exit(main({words!r}))"
_QUICK_CASES = {
    "vm list": ["vm", "list"],
    "completing a command of vm": ["__complete", "bash", "vdsmsh vm st"],
    "completing a machine": ["__complete", "bash", "vdsmsh vm start "],
}


def run(rounds: int = 15) -> list[Row]:
    """Processor time of a list and of a completion."""
    from vdsm_rest import RestBinding  # noqa: PLC0415 - after the benches that need no REST

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/api.sock"
        config = {"plugin": {"rest": {"socket": path, "address": "127.0.0.1", "port": 0}}}
        from vdsm_virt import Virt  # noqa: PLC0415 - as above

        with TestHost(bindings={"rest": RestBinding}, verbs={"virt": Virt}, config=config) as host:
            for number in range(2):
                name = f"00000000-0000-4000-8000-{number:012d}"
                host.call("Lamp.create", lamp={"lampID": name, "name": f"lamp {number}"})
            variables = {**os.environ, "VDSM_URL": f"unix://{path}", "XDG_CACHE_HOME": folder, "HOME": folder}
            rows = [_row(case, command, path, variables, rounds) for case, command in _CASES.items()]
            return [*rows, *_quick_rows(variables, rounds)]


def _quick_rows(variables: dict[str, str], rounds: int) -> list[Row]:
    """Rows of the quick lines, against `virsh list` of the same machine; none without virsh."""
    virsh = shutil.which("virsh")
    if virsh is None:
        return []
    yardstick = [virsh, "-c", _URI if Path(_SOCKET).exists() else "test:///default", "list"]
    # What the first line of a user reads once.
    subprocess.run([_SHELL, "vm", "--help"], check=True, capture_output=True, timeout=60, env=variables)
    packages = str(Path(vdsmsh.__file__).parents[1])
    rows = []
    for case, words in _QUICK_CASES.items():
        command = [sys.executable, "-I", "-S", "-c", _QUICK.format(path=packages, words=words)]
        costs = [(_cost(command, variables), _cost(yardstick, variables)) for _ in range(rounds)]
        rows.append(
            Row(
                bench="vdsmsh",
                case=case,
                unit="s of CPU",
                value=min(cost for cost, _ in costs),
                yardstick=min(cost for _, cost in costs),
                yardstick_name="virsh list",
                note="Python without site",
            )
        )
    return rows


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
