"""The contract suite's part about secrets: they arrive, and nothing that is written or replied shows them."""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import inspect

from vdsm_bridge.api.secrets import holds_secret, secret_paths
from vdsm_bridge.api.verb import Kind, Verb
from vdsm_bridge.testing.client import BridgeClient, Client, ContractError
from vdsm_bridge.testing.harness import REQUEST_ID, Harness
from vdsm_bridge.testing.host import TestHost

#: What every canary contains; nothing else does.
MARK: Final = "canary-7f3a"


class SecretContract(Harness):
    """Parameters of the type `Secret`."""

    def test_secrets_arrive(self, client: Client, bridge: BridgeClient, host: TestHost, lamp: str) -> None:
        """An action and a task get the text that was sent, in whatever characters."""
        code, other = 'a<b>&"c" \'\u00e4\u20ac\U0001f600', "@file"
        client.call("Lamp.lock", {"lampID": lamp, "code": code})
        wrong = {"lampID": lamp, "code": other}
        assert self.failure(client, "Lamp.unlock", wrong) == self.failure(bridge, "Lamp.unlock", wrong)
        client.call("Lamp.unlock", {"lampID": lamp, "code": code})
        task = client.call("Lamp.recode", wrong)
        assert self.ended(client, host, dict(task))["taskResult"] == "success"
        client.call("Lamp.unlock", wrong)

    @pytest.mark.parametrize("bad", ["x" * 65, ["x"], {"x": "x"}])
    def test_secrets_are_checked(self, client: Client, bridge: BridgeClient, lamp: str, bad: Any) -> None:
        """What is no text, or too long, is refused in the same words everywhere, which do not show it."""
        arguments = {"lampID": lamp, "code": bad}
        theirs = self.failure(client, "Lamp.lock", arguments)
        assert theirs == self.failure(bridge, "Lamp.lock", arguments)
        assert "code" in theirs.message
        assert "xx" not in theirs.message

    def test_request_id_with_a_secret(self, client: Client, host: TestHost, lamp: str) -> None:
        """The fingerprint of a request does not depend on its secrets: none can be guessed from it."""
        self.needs(REQUEST_ID)
        request_id = str(uuid.uuid4())
        first, second = (
            self.outcome(
                client,
                host,
                "Lamp.lock",
                {"lampID": lamp, "code": code},
                text=self.text,
                request_id=request_id,
            )
            for code in ("one", "two")
        )
        assert first == second
        client.call("Lamp.unlock", {"lampID": lamp, "code": "one"})

    def test_canaries(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Every secret parameter is filled, in calls that fail and that succeed, with request ids, as tasks:
        neither replies nor events nor any file or log record of the daemon has the text."""
        caplog.set_level(logging.DEBUG)
        state = {"state_dir": str(tmp_path / "state"), "run_dir": ""}
        serving = self._serving(tmp_path, installed=True, daemon=state)
        with serving as host, closing(self.connect(host)) as client:
            events = host.bridge.subscribe("")
            shown = [str(reply) for reply in self._planted(client, host)]
            shown += [str(client.call(verb, {})) for verb in ("Host.getVerbs", "Host.getAllTasksInfo")]
            host.host.runtime.events.flush()
            shown += [str(event) for event in events.next(timeout=0, max_events=10_000)]
            events.close()
            self._search(tmp_path, [*shown, caplog.text])
        self._search(tmp_path, [caplog.text])

    def _planted(self, client: Client, host: TestHost) -> Iterator[Any]:
        """Call every verb that takes a secret, with a canary in each; yield replies and errors."""
        numbers = itertools.count()
        lamp = str(uuid.uuid4())
        host.call("Lamp.create", lamp={"lampID": lamp, "name": "test"})
        verbs = [verb for verb in host.bridge.verbs.values() if holds_secret(verb.arguments)]
        assert {"Lamp.lock", "Lamp.unlock", "Lamp.recode"} <= {verb.name for verb in verbs}
        for verb in verbs:
            for shape in ("good", "unknown object", "too long", "no text", "one too many"):
                canary = f"{MARK}-{next(numbers)}"
                value: Any = {"too long": canary * 500, "no text": [canary]}.get(shape, canary)
                arguments = _arguments(verb, value, "" if shape == "unknown object" else lamp)
                if shape == "one too many":
                    arguments["noSuchArgument"] = 1
                request_id = str(uuid.uuid4()) if REQUEST_ID in self.carries else ""
                for _ in range(2):
                    try:
                        reply = client.call(verb.name, arguments, request_id=request_id)
                    except ContractError as error:
                        yield error
                        continue
                    yield reply
                    if verb.kind is Kind.TASK:
                        yield self.ended(client, host, dict(reply))

    @staticmethod
    def _search(folder: Path, texts: list[str]) -> None:
        assert not [text for text in texts if MARK in text]
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert any("state" in path.parts for path in files)
        with suppress(FileNotFoundError):  # a journal is rotated
            assert not [path for path in files if MARK.encode() in path.read_bytes()]


def _arguments(verb: Verb, canary: Any, key: str) -> dict[str, Any]:
    """Return arguments of a verb with a canary in each of its secrets."""
    arguments: dict[str, Any] = {}
    for param in verb.params:
        if param.required:
            arguments[param.name] = _example(inspect.type_info(param.type), key)
    for path in secret_paths(verb.arguments):
        _place(arguments, path, canary)
    return arguments


def _place(arguments: dict[str, Any], path: tuple[str, ...], canary: Any) -> None:
    name, *rest = path
    if not rest:
        arguments[name] = canary
    elif rest[0] == "[]":
        inner: dict[str, Any] = {"": canary}
        if rest[1:]:
            inner = {}
            _place(inner, tuple(rest[1:]), canary)
        arguments[name] = [inner.get("", inner)]
    else:
        below = arguments.get(name)
        arguments[name] = below = dict(below) if isinstance(below, Mapping) else {}
        _place(below, tuple(rest), canary)


def _example(info: inspect.Type, key: str) -> Any:
    """Return a value of a simple type; `key` stands for the id of an object."""
    if isinstance(info, inspect.Metadata):
        return _example(info.type, key)
    if isinstance(info, inspect.StrType):
        return key or str(uuid.uuid4())
    if isinstance(info, inspect.IntType):
        return 1
    if isinstance(info, inspect.LiteralType):
        return info.values[0]
    return {} if isinstance(info, (inspect.DictType, inspect.StructType, inspect.CustomType)) else ""
