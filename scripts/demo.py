"""A tour that ends by itself: two machines on libvirt's test driver, over XML-RPC, REST and vdsmsh."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
READY = 20.0  # seconds until the daemon must have answered


def say(text: str) -> None:
    """One step of the tour."""
    print(f"\n== {text}", flush=True)


@contextmanager
def daemon(folder: Path) -> Iterator[tuple[str, str, str]]:
    """A daemon on free ports; its XML-RPC URL, REST URL and unix socket."""
    config = folder / "vdsm.toml"
    config.write_text(
        f'[daemon]\nstate_dir = "{folder}/state"\nrun_dir = "{folder}"\nlog_level = "WARNING"\n'
        '[hypervisor]\nuri = "test:///default"\n[access]\nloopback = "admin"\n'
        f'[plugin.xmlrpc]\nport = 0\n[plugin.rest]\nport = 0\nsocket = "{folder}/api.sock"\n'
    )
    process = subprocess.Popen([BIN / "vdsmd", "--config", config])
    try:
        yield addresses(folder / "api.sock", process)
    finally:
        process.terminate()
        process.wait(10)


def addresses(sock: Path, process: subprocess.Popen[bytes]) -> tuple[str, str, str]:
    """Ask the daemon itself where it listens."""
    deadline = time.monotonic() + READY
    command = [BIN / "vdsmsh", "--url", f"unix://{sock}", "host", "plugins", "-f", "json"]
    where: dict[str, list[str]] = {}
    # A binding answers as soon as it is up itself; the other one may need a moment more.
    while not (where.get("rest") and where.get("xmlrpc")):
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            where = {plugin["name"]: plugin["address"] for plugin in json.loads(asked.stdout)}
        elif process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"demo: the daemon does not answer: {asked.stderr.strip()}")
        time.sleep(0.1)
    rest = next(address for address in where["rest"] if address.startswith("http")).rstrip("/")
    return where["xmlrpc"][0], rest if rest.endswith("/api") else f"{rest}/api", f"unix://{sock}"


def rest_call(url: str, method: str = "GET", body: Any = None) -> Any:
    """One REST request; the decoded reply."""
    data = None if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)
    print(f"$ curl -X {method} {url}" + (f" -d '{data.decode()}'" if data else ""))
    with urllib.request.urlopen(request, timeout=10) as reply:
        text = reply.read()
        print(f"  HTTP {reply.status}")
    return json.loads(text) if text else None


def main() -> int:
    """The tour."""
    with tempfile.TemporaryDirectory() as folder, daemon(Path(folder)) as (xml, rest, sock):
        host = xmlrpc.client.ServerProxy(xml)

        def shell(*arguments: str) -> None:
            print(f"$ vdsmsh {' '.join(arguments)}", flush=True)
            subprocess.run([BIN / "vdsmsh", "--url", sock, *arguments], check=True)

        say(f"A daemon on libvirt's test driver: XML-RPC {xml}, REST {rest}, {sock}")
        say("Create one machine over XML-RPC, with VDSM's own verb")
        made = host.create({"vmId": str(uuid.uuid4()), "vmName": "alpha", "memSize": 256, "smp": "1"})
        print(f"  {made['status']}  {made['vmList']['vmId']} is {made['vmList']['status']}")
        alpha = made["vmList"]["vmId"]

        say("Create another over REST")
        beta = rest_call(f"{rest}/vms", "POST", {"vmName": "beta", "memSize": 128})
        print(f"  {beta['vmId']} is {beta['status']}")

        say("List them with vdsmsh")
        shell("vm", "list")

        say("Pause one over XML-RPC, the other over REST")
        print(f"  VM.pause over XML-RPC: {host.pause(alpha)['status']}")
        rest_call(f"{rest}/vms/{beta['vmId']}/pause", "POST")

        say("The same two machines, over all three")
        print("  XML-RPC:", {vm["vmId"]: vm["status"] for vm in host.list()["vmList"]})
        fields = rest_call(f"{rest}/vms?fields=vmName,status")
        print("  REST:   ", {vm["vmName"]: vm["status"] for vm in fields})
        shell("vm", "list", "-c", "vmName", "-c", "status")

        say("An error says what cannot be done, and why")
        print("  XML-RPC:", host.pause("00000000-0000-0000-0000-00000000dead")["status"])

        say("Resume one with vdsmsh, destroy both")
        shell("vm", "cont", "alpha")
        shell("vm", "destroy", "alpha")
        shell("vm", "destroy", "beta")
        shell("vm", "list", "-c", "vmName", "-c", "status")
    say("The daemon has stopped. That was it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
