"""The tree of errors."""

from __future__ import annotations

import re
import string

import pytest

from vdsm_core.errors import InvalidArgument, NotResponding, QueueDeadline, VdsmError, tree

#: All but the idempotency store's stand-in for the errors of plugins that are gone.
OURS = [
    error
    for error in tree()
    if error.__module__.startswith(("vdsm_core.", "vdsm_bridge.")) and error.__name__ != "Replayed"
]

#: VDSM's numbers (lib/vdsm/common/exception.py, define.py and storage/exception.py of VDSM 4.4), by our slug.
CODES = {
    "error": 100,  # GeneralException
    "missing-argument": 11,  # MissingParameter
    "invalid-argument": 91,  # InvalidParameter
    "invalid-request": 91,
    "unexpected-error": 16,  # UnexpectedError
    "unavailable": 40,  # ResourceUnavailable
    "queue-deadline": 40,
    "resource-exhausted": 1100,  # ResourceExhausted
    "config-error": 101,  # InvalidConfiguration
    "no-such-task": 401,  # UnknownTask
    "task-state": 410,  # TaskStateError
    "task-aborted": 411,  # TaskAborted
    "task-interrupted": 411,
}


def fields(template: str) -> dict[str, str]:
    """The facts that a template needs, each with its format."""
    return {name: spec or "" for _, name, spec, _ in string.Formatter().parse(template) if name}


@pytest.mark.parametrize("error", OURS, ids=lambda error: error.__name__)
def test_message_has_the_facts(error: type[VdsmError]) -> None:
    """Every error's message is its template with the facts in it."""
    facts = {name: 1.5 if spec else f"<{name}>" for name, spec in fields(error.template).items()}
    message = str(error(**facts))
    assert "{" not in message
    for value in facts.values():
        assert str(value) in message


@pytest.mark.parametrize("error", OURS, ids=lambda error: error.__name__)
def test_facts_are_documented(error: type[VdsmError]) -> None:
    """Every fact that an error's own template shows is named in its docstring."""
    if "template" in vars(error) and error is not VdsmError:
        documented = re.findall(r"`(\w+)`", error.__doc__ or "")
        parents = [fact for base in error.__bases__ for fact in re.findall(r"`(\w+)`", base.__doc__ or "")]
        assert set(fields(error.template)) <= {*documented, *parents, "message"}


def test_slugs_are_unique() -> None:
    """A slug stands for one error; it is lower-case words with hyphens."""
    slugs = [error.slug for error in OURS if "slug" in vars(error)]
    assert len(slugs) == len(set(slugs))
    assert [slug for slug in slugs if not re.fullmatch(r"[a-z]+(-[a-z]+)*", slug)] == []


def test_codes_are_vdsms() -> None:
    """Where VDSM had a number for the same thing, ours is the same."""
    codes = {error.slug: error.code for error in OURS if "slug" in vars(error)}
    assert {slug: codes[slug] for slug in CODES} == CODES


def test_missing_and_odd_facts_do_not_break_the_message() -> None:
    """An error raised without its facts, or with wrong ones, still has a message."""
    assert str(QueueDeadline(lane="vm 1")).endswith("(lane='vm 1')")
    assert "seconds=None" in str(NotResponding(object="a", operation="b", seconds=None))
    assert str(InvalidArgument()).startswith("An argument is unknown")


def test_tree_has_each_error_once_after_its_parents() -> None:
    """The tree begins with its root; no error comes twice, or before one of its parents."""
    found = tree()
    assert found[0] is VdsmError
    assert len(found) == len(set(found))
    for place, error in enumerate(found):
        assert all(base not in found[place:] for base in error.__bases__)
