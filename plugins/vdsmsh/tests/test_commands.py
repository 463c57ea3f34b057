"""Commands against a real host, through its REST binding."""

from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge import Feature, Namespace, query
from vdsm_bridge.testing import TestHost
from vdsm_bridge.types import builtins

from .conftest import HALL, YARD, Run


def test_list_is_a_table(host: TestHost, run: Run) -> None:
    """A list shows the key, the name and more in columns."""
    out = run("lamp", "list").out.splitlines()
    assert out[1].split()[1:5:2] == ["lampID", "name"]
    assert out[3].split()[1:4:2] == [HALL, "hall"]


def test_every_verb_is_a_command(host: TestHost, run: Run) -> None:
    """Each verb of the host has a command, with its docstring as help."""
    for name, verb in host.bridge.verbs.items():
        namespace, method = name.split(".")
        found = [
            line for line in run("verb", "list", "-f", "value", "-c", "name").out.split() if line == name
        ]
        assert found == [name]
        assert verb.summary in run(namespace.lower(), "--help").out, method


def test_whoami(host: TestHost, run: Run) -> None:
    """One word asks the host who the caller is; the overview and its own help have it."""
    outcome = run("whoami", "-f", "json")
    assert outcome.code == 0
    shown = json.loads(outcome.out)
    assert (shown["role"], shown["binding"]) == ("admin", "rest")
    assert json.loads(run("host", "who-am-i", "-f", "json").out) == shown
    assert "whoami" in run("--help").out
    assert "Return the identity of the caller on this host" in run("whoami", "--help").out


def test_help_tells_of_parameters(host: TestHost, run: Run) -> None:
    """The help of a command has the docstring, its parameters and their values."""
    outcome = run("lamp", "create", "--help")
    assert outcome.code == 0
    for text in (
        "Hang up a lamp.",
        "--colour blue|green|red",
        "--watts N",
        "0 to 10000, default 10",
        "--file FILE",
    ):
        assert text in outcome.out
    assert run("help", "lamp", "create").out == outcome.out


def test_overview(host: TestHost, run: Run) -> None:
    """The help of the whole has the commands of the host and the exit codes."""
    outcome = run("--help")
    assert outcome.code == 0
    assert "groups of commands: " in outcome.out
    assert "exit codes: 0 done" in outcome.out
    assert "burn, create" not in outcome.out
    assert run("help").out == outcome.out
    every = run("--help", "--all-verbs")
    assert "burn, create" in every.out
    assert run("help", "--all-verbs").out == every.out


@pytest.mark.parametrize("word", ["hall", HALL])
def test_names_work_where_ids_do(host: TestHost, run: Run, word: str) -> None:
    """A lamp is found by its name and by its id."""
    assert json.loads(run("lamp", "info", word, "-f", "json").out)["lampID"] == HALL


def test_unknown_name(host: TestHost, run: Run) -> None:
    """An unknown name is an error of its own."""
    outcome = run("lamp", "info", "cellar")
    assert (outcome.code, outcome.err) == (
        1,
        "vdsmsh: there is no Lamp 'cellar'; `vdsmsh lamp list` lists them\n",
    )
    assert run("lamp", "info", "hal").err == "vdsmsh: there is no Lamp 'hal'; did you mean 'hall'?\n"


def test_ambiguous_name(host: TestHost, run: Run) -> None:
    """A name that two have is an error that lists their ids."""
    third = "33333333-3333-3333-3333-333333333333"
    host.call("Lamp.create", lamp={"lampID": third, "name": "hall"})
    outcome = run("lamp", "remove", "hall")
    assert outcome.code == 1
    assert f"{HALL}, {third}" in outcome.err
    assert len(host.call("Lamp.list")) == 3


def test_create_by_options(host: TestHost, run: Run) -> None:
    """Members of the new object are options; it gets an id where none is given."""
    outcome = run("lamp", "create", "--name", "cellar", "--colour=green", "-f", "json")
    made = json.loads(outcome.out)
    assert (made["name"], made["colour"], made["watts"]) == ("cellar", "green", 10)
    assert host.call("Lamp.getInfo", lampID=made["lampID"]).name == "cellar"


def test_create_by_file(host: TestHost, run: Run, home: Path) -> None:
    """A file has the members, known and unknown ones; options go before it."""
    file = home / "lamp.json"
    file.write_text(json.dumps({"name": "attic", "watts": 5, "shade": "linen"}))
    made = json.loads(run("lamp", "create", "--file", str(file), "--watts", "6", "-f", "json").out)
    assert (made["name"], made["watts"], made["custom"]) == ("attic", 6, {"shade": "linen"})


def test_booleans(host: TestHost, run: Run, lamp: Callable[[str], Any]) -> None:
    """A truth value is an option and its opposite."""
    assert run("lamp", "switch", "hall", "--lit").code == 0
    assert lamp(HALL).lit is True
    assert run("lamp", "switch", "hall", "--no-lit").code == 0
    assert lamp(HALL).lit is False


def test_no_result_says_nothing(host: TestHost, run: Run) -> None:
    """What returns nothing prints nothing, and succeeds."""
    outcome = run("lamp", "remove", "back yard")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert [lamp.name for lamp in host.call("Lamp.list")] == ["hall"]


def test_scalar_result(host: TestHost, run: Run) -> None:
    """A single value is printed as it is."""
    assert run("room", "add", "--left", "2", "--right", "-5").out == "-3\n"


def test_json_is_the_reply_of_the_host(host: TestHost, run: Run) -> None:
    """JSON and YAML hold the whole result, lists by id included."""
    yaml = pytest.importorskip("yaml")
    task = host.call("Lamp.burn", lampID=HALL).task_id
    run("task", "wait", task)
    expected = builtins(host.call("Host.getAllTasks"))
    assert json.loads(run("task", "list", "-f", "json").out) == expected
    assert yaml.safe_load(run("task", "list", "-f", "yaml").out) == expected
    assert json.loads(run("room", "add", "--left", "1", "-f", "json").out) == 2


def test_csv(host: TestHost, run: Run) -> None:
    """CSV has every column, nested values as JSON, also of one object."""
    rows = list(csv.DictReader(io.StringIO(run("lamp", "list", "-f", "csv").out)))
    assert [(row["name"], row["watts"], row["lit"]) for row in rows] == [
        ("hall", "40", "false"),
        ("back yard", "10", "false"),
    ]
    assert rows[0]["custom"] == "{}"
    (one,) = csv.DictReader(io.StringIO(run("lamp", "info", "hall", "-f", "csv").out))
    assert one == rows[0]


def test_columns(host: TestHost, run: Run) -> None:
    """`-c` picks columns, in any case; `value` prints them bare."""
    assert run("lamp", "list", "-f", "value", "-c", "NAME", "-c", "watts").out == "hall 40\nback yard 10\n"
    assert run("lamp", "info", "hall", "-f", "value", "-c", "lampid").out == f"{HALL}\n"


def test_sorting(host: TestHost, run: Run) -> None:
    """Rows are sorted by a column, shown or not."""
    out = run("lamp", "list", "--sort-column", "watts", "-f", "value", "-c", "name").out
    assert out == "back yard\nhall\n"


def test_unknown_column(host: TestHost, run: Run) -> None:
    """A column that is not there is an error that names those that are."""
    outcome = run("lamp", "list", "-c", "shade")
    assert outcome.code == 2
    assert "its columns are lampID, name, " in outcome.err


def test_empty_list(host: TestHost, run: Run) -> None:
    """An empty list prints nothing as a table, and an empty list as JSON."""
    assert run("host", "queues").out == ""
    assert run("host", "queues", "-f", "json").out == "[]\n"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("over", ["socket", "tcp"])
def test_dry_run(host: TestHost, run: Run, lamp: Callable[[str], Any], over: str) -> None:
    """A dry run changes nothing and prints a curl command, which then does it."""
    (plugin,) = [plugin for plugin in host.host.plugins() if plugin.name == "rest"]
    url = [] if over == "socket" else ["--url", next(a for a in plugin.address if a.startswith("http"))]
    words = [
        "lamp",
        "switch",
        "hall",
        "--lit",
        "--note",
        'it\'s $HOME "so"',
        "--flow-id",
        "f 1",
        "--dry-run",
        *url,
    ]
    outcome = run(*words)
    assert outcome.code == 0
    assert lamp(HALL).lit is False
    done = subprocess.run(["sh", "-c", outcome.out], capture_output=True, text=True, check=True, timeout=20)
    assert json.loads(done.stdout)["note"] == 'it\'s $HOME "so"'
    assert lamp(HALL).lit is True


def test_dry_run_hides_the_token(
    host: TestHost, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token stands in the environment or in its file, not in the line that people paste."""
    run("lamp", "list")
    monkeypatch.setenv("VDSM_TOKEN", "hush")
    out = run("lamp", "remove", HALL, "--dry-run").out
    assert "hush" not in out
    assert '"Authorization: Bearer $VDSM_TOKEN"' in out
    file = home / "my token"
    file.write_text("quiet\n")
    out = run("lamp", "remove", HALL, "--dry-run", "--token-file", str(file)).out
    assert "quiet" not in out
    shown = next(word for word in shlex.split(out) if word.startswith("Authorization"))
    done = subprocess.run(["sh", "-c", f'printf %s "{shown}"'], capture_output=True, text=True, check=True)
    assert done.stdout == "Authorization: Bearer quiet"


def test_request_id(host: TestHost, run: Run) -> None:
    """The same request id gets the first result instead of doing it twice."""
    words = ["lamp", "create", "--name", "once", "--lamp-id", "44444444-4444-4444-4444-444444444444"]
    first = run(*words, "--request-id", "r1", "-f", "json")
    assert (first.code, run(*words, "--request-id", "r1", "-f", "json").out) == (0, first.out)
    assert run(*words, "--request-id", "r2").code == 1


def test_options_before_the_command(host: TestHost, run: Run) -> None:
    """Options of every command may stand in front."""
    assert "curl" in run("--dry-run", "lamp", "remove", HALL).out


class Kettle(Namespace, name="Kettle"):
    """A third party's namespace."""

    @query(since="1.0")
    def boil(self, timeout: int, url: str = "", format: str = "") -> str:  # noqa: A002 - the clash is the point
        """Boil water.

        :param timeout: minutes
        """
        return f"{timeout} {url} {format}"


class Kitchen(Feature):
    """A third party's feature."""

    def namespaces(self) -> list[Namespace]:
        """One."""
        return [Kettle()]


def test_third_party_verb(
    home: Path, make_vdsm_host: Callable[..., TestHost], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third party's verb is a command; its parameters go before our options of the same name."""
    rest = pytest.importorskip("vdsm_rest")
    socket = home / "api.sock"
    options = {"socket": str(socket), "address": ""}
    make_vdsm_host(
        verbs={"kitchen": Kitchen}, bindings={"rest": rest.RestBinding}, config={"plugin": {"rest": options}}
    )
    monkeypatch.setenv("VDSM_URL", f"unix://{socket}")
    words = ["kettle", "boil", "--timeout", "3", "--kettle-url", "u", "--format", "x", "-f", "json"]
    assert run("--timeout", "5", *words).out == '"3 u x"\n'


def test_lamps_of_the_test(host: TestHost) -> None:
    """The two lamps that the tests count on."""
    assert {lamp.lamp_id for lamp in host.call("Lamp.list")} == {HALL, YARD}
