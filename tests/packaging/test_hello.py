"""A third party's distribution, installed beside a running daemon: it is everywhere, without a restart."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xmlrpc.client
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.isolation.toggling import UnixConnection
from tests.packaging.environment import SITE, Environment
from vdsm_bridge.testing.polling import until

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "vdsm-hello"
CONFIG = """
[daemon]
state_dir = "{folder}/state"
run_dir = "{folder}/run"
[access]
loopback = "admin"
[hypervisor]
uri = "test:///default"
[plugin.xmlrpc]
port = 0
[plugin.rest]
port = 0
socket = "{folder}/api.sock"
"""
#: The verbs of the example.
COMMANDS = {"words": "getWords", "greet": "greet", "greet-all": "greetAll"}
VERBS = {f"Greeting.{name}" for name in COMMANDS.values()}


class Site:
    """An environment with all that is installed here but the example, and a daemon in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = Environment(folder / "venv")
        self.environment.make()
        self.environment.borrow(
            {each.name for each in metadata.distributions(path=[str(SITE)])} - {"vdsm-hello"}
        )
        self.environment.borrow_scripts()
        (folder / "conf").mkdir()
        (folder / "conf" / "vdsm.toml").write_text(CONFIG.format(folder=folder))
        self.variables = {
            **self.environment.variables(),
            "VDSM_URL": f"unix://{folder}/api.sock",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        with (folder / "log").open("wb") as log:
            self.daemon = subprocess.Popen(
                ["vdsmd", "--config", folder / "conf"], stdout=log, stderr=log, env=self.variables
            )
        daemon = self.daemon

        def ready() -> bool:
            assert daemon.poll() is None, (folder / "log").read_text()
            return (folder / "run" / "vdsmd.json").exists()

        until(ready, 90.0, every=0.05, detail=(folder / "log").read_text)

    def run(self, *command: str | Path) -> str:
        """What a command prints that must succeed."""
        done = subprocess.run(
            command,
            env=self.variables,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def tool(self, *arguments: str) -> str:
        """What `vdsm-tool` prints."""
        return self.run("vdsm-tool", "--config", str(self.folder / "conf"), *arguments)

    def json(self, *arguments: str) -> Any:
        """What `vdsmsh` prints, decoded."""
        return json.loads(self.run("vdsmsh", *arguments, "-f", "json"))

    def rest(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer to one request."""
        connection = UnixConnection(f"{self.folder}/api.sock", timeout=60)
        try:
            headers = {"Host": "localhost", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            assert answer.status < 300, answer.read()
            return json.loads(answer.read())
        finally:
            connection.close()

    def xmlrpc(self) -> xmlrpc.client.ServerProxy:
        """A client of XML-RPC."""
        (address,) = (
            plugin["address"][0] for plugin in self.json("plugin", "list") if plugin["name"] == "xmlrpc"
        )
        return xmlrpc.client.ServerProxy(address)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """One that runs."""
    made = Site(tmp_path)
    yield made
    made.daemon.terminate()
    made.daemon.wait(30)


def offered(site: Site) -> dict[str, set[str]]:
    """The example's verbs, listed in each way that users have."""
    site.run("vdsmsh", "host", "ping")  # it sees another API with the first answer that it gets
    with site.xmlrpc() as proxy:
        methods: Any = proxy.system.listMethods()
    document = site.rest("GET", "/api/openapi.json")
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    completed = site.run("vdsmsh", "__complete", "bash", "vdsmsh greeting ").split()
    helped: list[str] = []
    # The short help has the names of such groups only.
    if "greeting" in site.run("vdsmsh", "--help") and "  greeting" in site.run(
        "vdsmsh", "--help", "--all-verbs"
    ):
        helped = re.findall(r"^  (\S+)  +\S", site.run("vdsmsh", "help", "greeting"), re.MULTILINE)
    return {
        "xmlrpc": {name for name in methods if name.startswith("Greeting.")},
        "openapi": {each["x-vdsm-verb"] for each in operations if "Greeting." in each.get("x-vdsm-verb", "")},
        "schema": {
            verb["name"] for verb in site.json("verb", "list") if verb["name"].startswith("Greeting.")
        },
        "help": {f"Greeting.{COMMANDS[word]}" for word in helped},
        "completion": {f"Greeting.{COMMANDS[word]}" for word in completed},
    }


def documented(site: Site) -> set[str]:
    """Those on the page of the reference."""
    page = site.folder / "reference"
    site.run("vdsm-tool", "docs", "--output", page)
    return set(re.findall(r"^### (Greeting\.\w+)", (page / "verbs.md").read_text(), re.MULTILINE))


def test_a_third_party_arrives(site: Site) -> None:
    """After `pip install` and a reload it is in every protocol, the command line, its help, the reference."""
    assert not any(offered(site).values())
    shutil.copytree(EXAMPLE, site.folder / "theirs", ignore=shutil.ignore_patterns("*.egg-info", "build"))
    site.run("pip", "install", "--quiet", "--no-deps", site.folder / "theirs")
    output = site.tool("reload")
    assert "The daemon has applied the configuration" in output
    found = offered(site)
    assert found == dict.fromkeys(found, VERBS)
    assert documented(site) == VERBS
    with site.xmlrpc() as proxy:
        subscription: Any = getattr(proxy, "Events.subscribe")("|hello|*")
        words: Any = getattr(proxy, "Greeting.getWords")("Ada")
        assert words["result"] == "Hello, Ada!"
        assert site.rest("POST", "/api/verbs/Greeting.greet", {"name": "Ada"}) == "Hello, Ada!"
        events: Any = getattr(proxy, "Events.next")(subscription["result"]["subscriptionID"], 10.0)
        assert [event["id"] for event in events["result"]] == ["|hello|greeted|no_id"]
    replies = site.json("greeting", "greet-all", "--names", "Ada", "--names", "Bob", "--wait")
    assert [each["value"] if isinstance(each, dict) else each for each in replies] == [
        "Hello, Ada!",
        "Hello, Bob!",
    ]
    assert covered(site) >= VERBS
    # Its options are live, too.
    (site.folder / "conf" / "conf.d").mkdir(exist_ok=True)
    (site.folder / "conf" / "conf.d" / "hello.toml").write_text('[plugin.hello]\nsalutation = "Moin"\n')
    site.tool("reload")
    assert site.run("vdsmsh", "greeting", "words", "--name", "Ada", "-f", "value").strip() == "Moin, Ada!"
    assert 'salutation = "Moin"' in site.tool("plugin", "show", "hello")
    assert "| `salutation` |" in site.tool("config", "docs")
    assert greeted(site, 1)
    site.tool("plugin", "disable", "hello")
    assert not greeted(site, 2)
    assert not any(offered(site).values())
    assert site.daemon.poll() is None


def greeted(site: Site, number: int) -> bool:
    """Whether the example's hook had its hand in a machine that was just made."""
    vm_id = f"00000000-0000-4000-8000-{number:012}"
    params = {"vmId": vm_id, "vmName": f"m{number}", "memSize": 16, "custom": {"greeting": "hi"}}
    site.rest("POST", "/api/verbs/VM.create", {"vmParams": params})

    def status() -> str:
        return str(site.rest("POST", "/api/verbs/VM.getStats", {"vmID": vm_id})[0]["status"])

    until(lambda: status() == "Up", 60.0, every=0.05, detail=status)
    document = site.rest("POST", "/api/verbs/Host.dumpxmls", {"vmList": [vm_id]})
    return "greeting:hi</entry>" in document[vm_id]


#: Writes down which verbs are called over XML-RPC.
RECORDER = """
from vdsm_bridge import Bridge
call = Bridge.call
def record(bridge, name, arguments, context, **more):
    if context.binding == "xmlrpc":
        with open({file!r}, "a") as file:
            print(name, file=file)
    return call(bridge, name, arguments, context, **more)
Bridge.call = record
"""


def covered(site: Site) -> set[str]:
    """The verbs that the contract suite of XML-RPC, unchanged, calls in this environment."""
    file = site.folder / "called"
    (site.folder / "recorder.py").write_text(RECORDER.format(file=str(file)))
    suite = ROOT / "plugins" / "xmlrpc" / "tests" / "test_xmlrpc_contract.py"
    options = ["--quiet", "-p", "recorder", "-p", "no:cacheprovider", "-k"]
    options += ["not OverTls and (offers or reachable or simple)"]
    done = subprocess.run(
        [site.environment.python, "-m", "pytest", *options, suite],
        env={**site.variables, "PYTHONPATH": str(site.folder)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
    return set(file.read_text().split())


def test_it_is_small() -> None:
    """An afternoon's work: under 100 lines."""
    lines = [line for file in EXAMPLE.glob("vdsm_hello/*.py") for line in file.read_text().splitlines()]
    assert len(lines) < 100
