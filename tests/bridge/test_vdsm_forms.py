"""What a verb declares for VDSM's bridge is what that bridge did, for each verb that exists by now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from vdsm_bridge import Kind, LegacyForm, Verb
from vdsm_bridge.tool import installed


class Form(NamedTuple):
    """One line of the table."""

    verb: str
    params: list[str]
    required: list[str]
    result: str


def table() -> dict[str, Form]:
    forms = {}
    for line in Path(__file__).with_name("vdsm_forms.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            call, _, result = line.partition(" -> ")
            verb, *params = call.split()
            required = [name for name in params if not name.startswith("[")]
            forms[verb] = Form(verb, [name.strip("[]") for name in params], required, result)
    return forms


FORMS = table()
VERBS = [verb for verb in installed.read().verbs.values() if verb.name in FORMS]
#: Verbs whose result was true over JSON-RPC: their member and result. VDSM had those of snapshots over
#: XML-RPC, and never carried out the command of the monitor.
RICHER = {"VM.snapshot": ("", "SnapshotResult"), "VM.monitorCommand": ("output", "str")}
#: Parameters that VDSM had and a verb of ours has not, and why.
LEFT_OUT = {"VM.setNumberOfCpus": {"cpusets": "pinning of processors, not offered yet"}}


def test_the_table_is_whole() -> None:
    """As many verbs as VDSM had, and those that are here have a line."""
    assert len(FORMS) == 231
    assert len(VERBS) > 25


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_positions(verb: Verb) -> None:
    """The parameters have VDSM's names and order; those that VDSM did not have come last."""
    wanted = [name for name in FORMS[verb.name].params if name not in LEFT_OUT.get(verb.name, {})]
    assert list(verb.legacy_form.order[: len(wanted)]) == wanted


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_required(verb: Verb) -> None:
    """Nothing is required that VDSM did not require."""
    required = {param.name for param in verb.params if param.required}
    assert required <= set(FORMS[verb.name].required)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_results(verb: Verb) -> None:
    """The result is the same part of VDSM's reply."""
    form, wanted = verb.legacy_form, FORMS[verb.name].result
    if wanted.startswith("{"):
        assert form.constant == json.loads(wanted)
    elif verb.kind is Kind.TASK:
        assert wanted == "uuid"
    elif wanted == "true":
        member, result = RICHER.get(verb.name, ("", "NoneType"))
        assert (form.member, verb.result.__name__) == (member, result)
    elif " " in wanted or wanted == "*":
        assert form.member == ""
        assert set(wanted.replace("*", "").split()) <= members(verb.result)
    else:
        assert form.member == wanted
        assert (verb.result is type(None)) == (wanted == LegacyForm.STATUS)


def members(type_: Any) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(type_)}
