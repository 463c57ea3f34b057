"""Options derived from the declarations of a host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.types import builtins
from vdsmsh.api.catalogue import Catalogue
from vdsmsh.api.signature import Signature
from vdsmsh.errors import UsageError

UUID = {"type": "string", "format": "uuid", "pattern": "^[0-9a-f-]{36}$"}


def verb(name: str, *params: tuple[str, dict[str, Any], bool], **more: Any) -> dict[str, Any]:
    """A verb as a host describes it."""
    described = [{"name": n, "type": t, "required": r, "doc": ""} for n, t, r in params]
    return {"name": name, "kind": "action", "summary": ".", "params": described, **more}


SPEC = {
    "type": "object",
    "title": "Spec",
    "properties": {
        "vmId": UUID,
        "vmName": {"type": "string"},
        "memSize": {"type": "integer", "x-cli": "memory", "description": "Memory, in MiB."},
        "poolID": {"type": "string"},
        "custom": {"type": "object", "additionalProperties": {"type": "string"}},
        "url": {"type": "string"},
        "drives": {"type": "array", "items": {"type": "object"}},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["vmName"],
}
CATALOGUE = Catalogue(
    "1",
    [
        verb("VM.create", ("vmID", UUID, True), ("spec", SPEC, True), part="create"),
        verb(
            "VM.tune",
            ("vmID", UUID, True),
            ("force", {"type": "boolean"}, False),
            key="vmID",
            listedBy="VM.list",
        ),
        verb("VM.list"),
        verb("Pool.drop", ("poolID", {"type": "string"}, True), key="poolID", listedBy="Pool.list"),
        verb("Pool.list"),
    ],
)


def signature(name: str) -> Signature:
    return Signature(CATALOGUE.verbs[name], CATALOGUE)


def arguments(verb_name: str, file: str = "", /, **given: str | list[str]) -> dict[str, Any]:
    """The arguments that options make, by flag with underscores."""
    found = signature(verb_name)
    words = {}
    for flag, value in given.items():
        option = next(
            o for o in found.all if f"--{flag.replace('_', '-')}" in (o.flags or (f"--{o.metavar.lower()}",))
        )
        words[option.dest] = [value] if isinstance(value, str) else value
    return found.arguments(words, file)


def test_object_is_the_first_word() -> None:
    """A verb on an object takes it as the first word, and the rest as options."""
    found = signature("VM.tune")
    assert [option.metavar for option in found.positionals] == ["VM"]
    assert [option.flags for option in found.options] == [("--force",)]


def test_members_are_options() -> None:
    """Members of the one structure are options: hints first, then without the namespace's prefix."""
    flags = [option.flags for option in signature("VM.create").options]
    assert ("--memory", "--mem-size") in flags
    assert ("--name", "--vm-name") in flags
    assert ("--spec",) in flags


def test_reserved_option() -> None:
    """A member called like an option of the connection gets a prefix."""
    assert ("--spec-url",) in [option.flags for option in signature("VM.create").options]


def test_new_object_gets_an_id() -> None:
    """Creating an object needs no id; a given one is used."""
    made = arguments("VM.create", name="a", memory="512")
    assert made["spec"] == {"vmName": "a", "memSize": 512}
    assert len(made["vmID"]) == 36
    assert arguments("VM.create", name="a", vm_id="x")["vmID"] == "x"


def test_file_lies_below_options(tmp_path: Path) -> None:
    """Members come from the file, then from the structure's own option, then from single options."""
    file = tmp_path / "vm.json"
    file.write_text(json.dumps({"vmName": "f", "memSize": 1, "custom": {"a": "1", "b": "1"}}))
    made = arguments("VM.create", str(file), spec='{"memSize": 2, "custom": {"b": "2"}}', memory="3")
    assert made["spec"] == {"vmName": "f", "memSize": 3, "custom": {"a": "1", "b": "2"}}


def test_repetition() -> None:
    """Lists and maps grow with each option; a JSON list gives many items at once."""
    made = arguments(
        "VM.create",
        name="a",
        tags=["x", '["y", "z"]'],
        drives=['{"n": 1}', "n=2"],
        custom=["a=1", "b=2"],
    )["spec"]
    assert made["tags"] == ["x", "y", "z"]
    assert made["drives"] == [{"n": 1}, {"n": "2"}]
    assert made["custom"] == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"memory": "1"}, "--name is required"),
        ({"name": "a", "memory": "512X"}, "--memory: '512X' is not a whole number (Memory, in MiB)"),
        ({"name": "a", "tags": "[1"}, "--tags: '[1' is not JSON"),
    ],
)
def test_refusals(given: dict[str, str], message: str) -> None:
    """The error names the option."""
    with pytest.raises(UsageError) as caught:
        arguments("VM.create", **given)
    assert message in str(caught.value)


def test_file_that_is_no_object(tmp_path: Path) -> None:
    """A file without a JSON object is refused by name."""
    file = tmp_path / "vm.json"
    file.write_text("[]")
    with pytest.raises(UsageError, match=r"vm\.json is not a JSON object"):
        arguments("VM.create", str(file))


def test_names_of_other_objects() -> None:
    """A member that is the key of another namespace may be a name."""
    listed = {option.path[-1]: option.listed_by for option in signature("VM.create").options}
    assert listed["poolID"] == "Pool.list"
    assert listed["vmID"] == ""


def test_real_declarations(vdsm_host: Any) -> None:
    """The options of every verb of a real host can be derived, and no two are the same."""
    catalogue = Catalogue("1", builtins(vdsm_host.call("Host.getVerbs")))
    assert "Lamp.create" in catalogue.verbs
    for described in catalogue.verbs.values():
        flags = [flag for option in Signature(described, catalogue).options for flag in option.flags]
        assert len(flags) == len(set(flags)), described.name
