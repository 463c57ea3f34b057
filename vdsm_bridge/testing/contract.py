"""The contract suite: one set of tests, run through the bridge and through every binding.

It proves that the API is not forked. A binding's test subclasses `BindingContract`::

    from vdsm_bridge.testing.contract import BindingContract

    class TestContract(BindingContract):
        name = "telegraph"
        binding = TelegraphBinding
        options = {"port": 0}

        def connect(self, host):
            return TelegraphClient(self.address_of(host))

`connect` gives a `vdsm_bridge.testing.client.Client`. Tests about what a protocol cannot carry at all are
skipped, and say so: `carries` names what it can. A binding with streams of events of its own kind overrides
`stream`; then they are held to what the verbs of `Events` give. One that names objects by its own means, as
REST does with paths, overrides `call_on_object`.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from vdsm_bridge.api.verb import Kind
from vdsm_bridge.testing.access_contract import AccessContract
from vdsm_bridge.testing.canonical import canonical, shape
from vdsm_bridge.testing.client import BridgeClient, Client, ContractError
from vdsm_bridge.testing.event_contract import EventContract
from vdsm_bridge.testing.harness import (
    AUDIT,
    DEADLINE,
    EVERYTHING,
    PATIENCE,
    REQUEST_ID,
    SLUG,
    TOKEN,
    Failure,
    queue,
)
from vdsm_bridge.testing.host import TestHost
from vdsm_bridge.testing.nested_contract import NestedContract
from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.secret_contract import SecretContract
from vdsm_bridge.testing.tokens import TOKENS
from vdsm_core.errors import NoSuchVerb

__all__ = ["DEADLINE", "EVERYTHING", "REQUEST_ID", "SLUG", "TOKEN", "BindingContract"]

#: Calls that are refused before the verb runs.
BAD_CALLS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "missing": ("Room.add", {}),
    "unknown": ("Room.add", {"left": 1, "middle": 2}),
    "text for a number": ("Room.add", {"left": "one"}),
    "list for a number": ("Room.add", {"left": [1]}),
    "struct for a text": ("Host.echo", {"message": {"a": "b"}}),
    "fraction for a whole number": ("Room.add", {"left": 1.5}),
    "malformed id": ("Lamp.getInfo", {"lampID": "not-an-id"}),
    "bad member": (
        "Lamp.create",
        {"lamp": {"lampID": "00000000-0000-4000-8000-000000000001", "name": "a", "colour": "beige"}},
    ),
    "number out of range": (
        "Lamp.create",
        {"lamp": {"lampID": "00000000-0000-4000-8000-000000000001", "name": "a", "watts": -1}},
    ),
    "missing member": ("Lamp.create", {"lamp": {"name": "a"}}),
    "text for a struct": ("Lamp.create", {"lamp": "a"}),
}

TEXTS: Final = (
    "",
    " two  blanks ",
    '<a>&"b"\'</a>',
    "tab\tline\nend",
    "\u00e4\u20ac\U0001f600",
    "x" * 10_000,
)
WHOLE_NUMBERS: Final = (0, -1, 2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63))


class BindingContract(AccessContract, EventContract, NestedContract, SecretContract):
    """Subclass it in the test module of a binding; see the module's docstring."""

    # -- what is offered

    def test_offers_the_same_verbs(self, full_host: TestHost) -> None:
        """Each verb of the bridge, those of third parties too, and no other."""
        with closing(self.connect(full_host)) as client:
            assert client.verbs() == set(full_host.bridge.verbs)

    def test_every_verb_is_reachable(self, full_host: TestHost) -> None:
        """Every verb refuses an argument that it does not have, in the same words everywhere."""
        arguments = {"noSuchArgument": "x"}
        bridge = BridgeClient(full_host.bridge, text=self.text)
        with closing(self.connect(full_host)) as client:
            for name in full_host.bridge.verbs:
                assert self.failure(client, name, arguments) == self.failure(bridge, name, arguments), name

    def test_every_simple_query_answers_alike(self, full_host: TestHost) -> None:
        """Every query that needs no argument has the declared type, and the bridge's structure."""
        queries = [
            verb.name
            for verb in full_host.bridge.verbs.values()
            if verb.kind is Kind.QUERY and not any(param.required for param in verb.params)
        ]
        assert "Host.ping" in queries
        with closing(self.connect(full_host)) as client:
            differing = [name for name in queries if not self._alike(client, full_host, name)]
        assert not differing

    def _alike(self, client: Client, host: TestHost, name: str) -> bool:
        bridge = BridgeClient(host.bridge, text=self.text)
        for _ in range(3):  # what happens on the host meanwhile may change a structure
            if self._shape(client, host, name, text=self.text) == self._shape(bridge, host, name):
                return True
        return False

    def _shape(self, client: Client, host: TestHost, name: str, *, text: bool = False) -> Any:
        try:
            result = client.call(name, {})
        except ContractError as error:
            return error.code
        return shape(canonical(result, host.bridge.verbs[name].reply, text=text))

    # -- results

    def test_every_kind_of_value_survives(self, client: Client, bridge: BridgeClient, host: TestHost) -> None:
        """Numbers, booleans, texts, lists and structs arrive unchanged, in any spelling."""
        self.same_result(client, bridge, host, "Room.getSpellings", {})

    def test_whole_numbers_survive(self, client: Client, bridge: BridgeClient, host: TestHost) -> None:
        """Whole numbers of 64 bits arrive in both directions, also those that 32 bits do not hold."""
        for number in WHOLE_NUMBERS:
            arguments = {"big": self.number(number)}
            result = self.same_result(client, bridge, host, "Room.getSpellings", arguments)
            assert result["big"] == number

    def number(self, value: int) -> Any:
        """A whole number as the client must be given it; one of 32 bits carries a longer one as text."""
        return str(value) if self.text and not -(2**31) <= value < 2**31 else value

    def test_texts_survive(self, client: Client) -> None:
        """Any text arrives unchanged in both directions."""
        for text in TEXTS:
            assert client.call("Host.echo", {"message": text}) == text

    def test_defaults(self, client: Client) -> None:
        """An argument that is left out has its default."""
        assert canonical(client.call("Room.add", {"left": 2}), int, text=self.text) == 3
        assert canonical(client.call("Room.add", {"left": 2, "right": 5}), int, text=self.text) == 7

    def test_no_result(self, client: Client) -> None:
        """A verb without a result gives none."""
        assert client.call("Host.ping", {}) is None

    def test_life_of_an_object(self, client: Client, bridge: BridgeClient, host: TestHost) -> None:
        """Create, read, list, change and delete work; unknown members are kept."""
        lamp_id = str(uuid.uuid4())
        spec = {"lampID": lamp_id, "name": "a", "watts": 7, "holder": {"thread": "E27"}, "tags": ["x"]}
        made = canonical(
            client.call("Lamp.create", {"lamp": spec}), self.reply(host, "Lamp.create"), text=self.text
        )
        assert (made["watts"], made["colour"]) == (7, "red")
        assert made["custom"] == {"holder": {"thread": "E27"}, "tags": ["x"]}
        self.same_result(client, bridge, host, "Lamp.getInfo", {"lampID": lamp_id})
        client.call("Lamp.switch", {"lampID": lamp_id, "lit": True, "note": "n"})
        lit = self.same_result(client, bridge, host, "Lamp.getInfo", {"lampID": lamp_id})
        assert (lit["lit"], lit["note"]) == (True, "n")
        assert lit in self.same_result(client, bridge, host, "Lamp.list", {})
        assert client.call("Lamp.remove", {"lampID": lamp_id}) is None
        assert lit not in self.same_result(client, bridge, host, "Lamp.list", {})

    # -- errors

    @pytest.mark.parametrize(("verb", "arguments"), BAD_CALLS.values(), ids=BAD_CALLS)
    def test_bad_arguments(
        self, client: Client, bridge: BridgeClient, verb: str, arguments: dict[str, Any]
    ) -> None:
        """A call that cannot be carried out is refused in the same words, and nothing has changed."""
        before = bridge.call("Lamp.list", {})
        assert self.failure(client, verb, arguments) == self.failure(bridge, verb, arguments)
        assert bridge.call("Lamp.list", {}) == before

    def test_errors_of_verbs(self, client: Client, bridge: BridgeClient, lamp: str) -> None:
        """An error of a verb arrives with its slug, its code and its message."""
        unknown = {"lampID": str(uuid.uuid4())}
        taken = {"lamp": {"lampID": lamp, "name": "again"}}
        for verb, arguments in (("Lamp.getInfo", unknown), ("Lamp.remove", unknown), ("Lamp.create", taken)):
            assert self.failure(client, verb, arguments) == self.failure(bridge, verb, arguments)

    def test_unknown_verb(self, client: Client) -> None:
        """A verb that no plugin offers is refused by name."""
        for verb in ("Lamp.polish", "lamp.list", "Nothing.at.all", "list()", "Room._add"):
            with pytest.raises(ContractError) as caught:
                client.call(verb, {})
            assert caught.value.slug in self.slugs(NoSuchVerb.slug)
            assert verb in caught.value.message

    def test_a_bug_in_a_verb(self, client: Client, caplog: pytest.LogCaptureFixture) -> None:
        """A bug gives an id that the log has, too, and no word of the code; the next call is served."""
        failure = self.failure(client, "Room.breakDown", {})
        assert (failure.slug, failure.code) in {(slug, 16) for slug in self.slugs("unexpected-error")}
        for leak in ("Traceback", "ZeroDivision", "on purpose", ".py"):
            assert leak not in failure.message
        incident = failure.message.split()[-1]
        assert len(incident) == 12
        assert incident in caplog.text
        assert client.call("Host.ping", {}) is None

    # -- access

    @pytest.mark.parametrize("role", ["monitor", "operator", "admin"])
    def test_roles(self, client: Client, bridge: BridgeClient, host: TestHost, lamp: str, role: str) -> None:
        """Each role may call what it suffices for, and is refused by name where it does not."""
        self.needs(TOKEN)
        for verb, arguments in (
            ("Lamp.getInfo", {"lampID": lamp}),
            ("Lamp.switch", {"lampID": lamp, "lit": True}),
            ("Room.whisper", {}),
        ):
            theirs = self.outcome(client, host, verb, arguments, text=self.text, token=TOKENS[role])
            assert theirs == self.outcome(bridge, host, verb, arguments, token=TOKENS[role])
        assert isinstance(theirs, Failure) == (role != "admin")

    def test_wrong_token(self, client: Client, bridge: BridgeClient) -> None:
        """An unknown token is refused, although the caller is on loopback."""
        self.needs(TOKEN)
        guessed = "guessed"
        theirs, ours = (self.failure(caller, "Host.ping", {}, token=guessed) for caller in (client, bridge))
        assert theirs == ours

    # -- audit

    def test_actions_are_audited(self, client: Client, host: TestHost, tmp_path: Path, lamp: str) -> None:
        """Records name caller, verb, object, binding and outcome; never the arguments."""
        token = TOKENS["operator"] if TOKEN in self.carries else ""
        request_id = str(uuid.uuid4()) if REQUEST_ID in self.carries else ""
        arguments = {"lampID": lamp, "lit": True, "note": "hush-hush"}
        (tmp_path / AUDIT).write_text("")
        client.call("Lamp.switch", arguments, token=token, request_id=request_id)
        client.call("Lamp.getInfo", {"lampID": lamp}, token=token)
        if token:
            self.failure(client, "Lamp.switch", arguments, token=TOKENS["monitor"])
        text = (tmp_path / AUDIT).read_text()
        assert "hush" not in text
        begun, done, *refused = map(json.loads, text.splitlines())
        for record in (begun, done):
            assert (record["verb"], record["object"]) == ("Lamp.switch", lamp)
            assert record["binding"] == (self.name or BridgeClient.binding)
            assert record.get("address") or "unix:" in self.address_of(host)
            assert record.get("request_id", "") == request_id
            assert record["who"] == "operator" or not token
        assert (begun["outcome"], done["outcome"]) == ("begun", "done")
        assert begun["call"] == done["call"]
        for record in refused:
            assert (record["who"], record["outcome"]) == ("monitor", "forbidden")
        assert len(refused) == bool(token)

    # -- tasks

    def test_task_that_succeeds(
        self, client: Client, bridge: BridgeClient, host: TestHost, lamp: str
    ) -> None:
        """A task starts at once, can be queried, and keeps its result; it can be reverted, and cleared."""
        task_id = self._start(client, lamp, hours=3)
        assert client.call("Task.getInfo", task_id)["verb"] == "Lamp.burn"
        status = self.ended(client, host, task_id)
        assert (status["taskState"], status["taskResult"]) == ("finished", "success")
        assert (status["progress"], status["code"]) == (100, 0)
        assert self.same_result(client, bridge, host, "Task.getStatus", task_id) == status
        assert task_id["taskID"] in client.call("Host.getAllTasksStatuses", {})
        assert self._hours(host, lamp) == 3
        client.call("Task.revert", task_id)
        assert self._hours(host, lamp) == 0
        assert self.ended(client, host, task_id)["taskResult"] == "cleanSuccess"
        assert self.failure(client, "Task.revert", task_id) == self.failure(bridge, "Task.revert", task_id)
        client.call("Task.clear", task_id)
        gone = self.failure(client, "Task.getStatus", task_id)
        assert gone == self.failure(bridge, "Task.getStatus", task_id)
        assert gone.code == 401

    def test_task_that_is_stopped(
        self, client: Client, bridge: BridgeClient, host: TestHost, lamp: str
    ) -> None:
        """A running task cannot be cleared or reverted; after a stop it ends soon, and reports that."""
        task_id = self._start(client, lamp, hours=1000, pause=10)
        for verb in ("Task.clear", "Task.revert"):
            assert _steady(self.failure(client, verb, task_id)) == _steady(
                self.failure(bridge, verb, task_id)
            )
        client.call("Task.stop", task_id)
        status = self.ended(client, host, task_id)
        assert (status["taskResult"], "result" in status) == ("cleanSuccess", False)
        assert self.failure(client, "Task.stop", task_id) == self.failure(bridge, "Task.stop", task_id)

    def test_task_that_fails(self, client: Client, bridge: BridgeClient, host: TestHost) -> None:
        """The status of a failed task has the code and the message of its error."""
        unknown = str(uuid.uuid4())
        task_id = self._start(client, unknown, hours=1)
        status = self.ended(client, host, task_id)
        error = self.failure(bridge, "Lamp.getInfo", {"lampID": unknown})
        assert (status["code"], status["message"]) == (error.code, error.message)
        assert status["taskResult"] == "cleanFailure"

    # -- exactly once

    def test_request_id(self, client: Client, bridge: BridgeClient, host: TestHost, lamp: str) -> None:
        """The same request sent again is not carried out twice, and has the first answer, on any binding."""
        self.needs(REQUEST_ID)
        arguments, by = {"lampID": lamp, "text": "once"}, self._once()
        first, again = (
            self.outcome(client, host, "Lamp.engrave", arguments, text=self.text, **by) for _ in range(2)
        )
        elsewhere = self.outcome(bridge, host, "Lamp.engrave", arguments, **by)
        assert first["marks"] == ["once"]
        assert first == again == elsewhere

    def test_request_id_of_a_task(self, client: Client, lamp: str) -> None:
        """The same task sent again is the same task."""
        self.needs(REQUEST_ID)
        request_id = str(uuid.uuid4())
        first, again = (client.call("Lamp.burn", {"lampID": lamp}, request_id=request_id) for _ in range(2))
        assert first == again

    def test_request_id_of_a_refused_request(self, client: Client, host: TestHost, lamp: str) -> None:
        """A failure is remembered, too: the answer does not change with the state of the object."""
        self.needs(REQUEST_ID)
        request_id, arguments = str(uuid.uuid4()), {"lamp": {"lampID": lamp, "name": "again"}}
        first = self.failure(client, "Lamp.create", arguments, request_id=request_id)
        host.call("Lamp.remove", lampID=lamp)
        assert self.failure(client, "Lamp.create", arguments, request_id=request_id) == first

    def test_request_id_of_another_request(self, client: Client, bridge: BridgeClient, lamp: str) -> None:
        """A request id belongs to one verb with one set of arguments."""
        self.needs(REQUEST_ID)
        by = self._once()
        client.call("Lamp.engrave", {"lampID": lamp, "text": "a"}, **by)
        for verb, arguments in (
            ("Lamp.engrave", {"lampID": lamp, "text": "b"}),
            ("Lamp.remove", {"lampID": lamp}),
        ):
            theirs, ours = (self.failure(caller, verb, arguments, **by) for caller in (client, bridge))
            assert theirs == ours
            assert theirs.slug in self.slugs("request-id-reused")

    def _once(self) -> dict[str, Any]:
        """A request id, and the token that makes the callers of two bindings one identity."""
        return {
            "request_id": str(uuid.uuid4()),
            "token": TOKENS["admin"] if TOKEN in self.carries else "",
        }

    # -- many callers

    def test_actions_on_one_object_keep_their_order(
        self, connection: Callable[[], Client], host: TestHost, lamp: str
    ) -> None:
        """Actions on one object run one after the other, in order of arrival."""
        clients = [connection() for _ in range(5)]
        with ThreadPoolExecutor(len(clients)) as pool:
            calls = []
            for number, client in enumerate(clients):
                arguments = {"lampID": lamp, "text": str(number), "pause": 0.0 if number else 1.0}
                calls.append(pool.submit(client.call, "Lamp.engrave", arguments))
                until(lambda: len(queue(host, lamp)) == len(calls), PATIENCE)
            for call in calls:
                call.result(PATIENCE)
        assert host.call("Lamp.getInfo", lampID=lamp).marks == ["0", "1", "2", "3", "4"]

    def test_nothing_is_lost_among_many_callers(
        self, connection: Callable[[], Client], host: TestHost, lamp: str
    ) -> None:
        """Every call of many clients is answered, and every action was carried out once."""
        clients = [connection() for _ in range(8)]
        together = threading.Barrier(len(clients))

        def work(number: int) -> None:
            together.wait(PATIENCE)
            for turn in range(5):
                clients[number].call("Lamp.engrave", {"lampID": lamp, "text": f"{number} {turn}"})

        with ThreadPoolExecutor(len(clients)) as pool:
            list(pool.map(work, range(len(clients)), timeout=PATIENCE))
        marks = host.call("Lamp.getInfo", lampID=lamp).marks
        assert sorted(marks) == sorted(f"{number} {turn}" for number in range(8) for turn in range(5))

    def test_queries_and_other_objects_do_not_wait(
        self, connection: Callable[[], Client], host: TestHost, lamp: str
    ) -> None:
        """While an action runs, its object can be read, another object be changed; smashing overtakes it."""
        slow, quick = connection(), connection()
        other = str(uuid.uuid4())
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(slow.call, "Lamp.engrave", {"lampID": lamp, "text": "late", "pause": 0.6})
            until(lambda: queue(host, lamp), PATIENCE)
            assert quick.call("Lamp.getInfo", {"lampID": lamp})["marks"] == []
            quick.call("Lamp.create", {"lamp": {"lampID": other, "name": "other"}})
            quick.call("Lamp.switch", {"lampID": other, "lit": True})
            quick.call("Lamp.smash", {"lampID": lamp})
            assert not call.done()
            with pytest.raises(ContractError, match="There is no lamp"):
                call.result(PATIENCE)

    def test_deadline_in_the_queue(self, connection: Callable[[], Client], host: TestHost, lamp: str) -> None:
        """A call that waits beyond its deadline gets its position and the holder; it did nothing."""
        self.needs(DEADLINE)
        slow, impatient = connection(), connection()
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(slow.call, "Lamp.engrave", {"lampID": lamp, "text": "slow", "pause": 0.6})
            until(lambda: queue(host, lamp), PATIENCE)
            failure = self.failure(impatient, "Lamp.switch", {"lampID": lamp, "lit": True}, timeout=0.1)
            call.result(PATIENCE)
        assert (failure.slug, failure.code) in {(slug, 40) for slug in self.slugs("queue-deadline")}
        assert "position 1" in failure.message
        assert "Lamp.engrave" in failure.message
        assert host.call("Lamp.getInfo", lampID=lamp).lit is False

    @staticmethod
    def _start(client: Client, lamp: str, **arguments: Any) -> dict[str, str]:
        reference = client.call("Lamp.burn", {"lampID": lamp, **arguments})
        assert list(reference) == ["taskID"]
        return dict(reference)

    @staticmethod
    def _hours(host: TestHost, lamp: str) -> int:
        return int(host.call("Lamp.getInfo", lampID=lamp).hours)


def _steady(failure: Failure) -> Failure:
    """Without the state of a task that is still on its way."""
    return failure._replace(message=failure.message.replace("queued", "running"))
