"""Bindings derive everything from the declarations of verbs: none has a table of them."""

from __future__ import annotations

import pytest

from tests.architecture import rules
from tests.architecture.tree import Tree
from vdsm_bridge.tool import installed

BINDINGS = ("vdsm_qmf", "vdsm_rest", "vdsm_xmlrpc")
#: Texts in bindings that are names of verbs as well, and what they are there.
ALLOWED = {
    "vdsm_qmf": {
        "Host.getCapabilities": "the name of the agent has the id of the host",
        "Host.getHardwareInfo": "the same, of a host that has no other id",
        "full name, such as VM.pause": "an example in a help text",
        "getStats": "what QMF calls statistics of an object, of any namespace",
        "info": "a severity of events",
    },
    "vdsm_rest": {
        "create": "a part of a namespace, as a declaration has it",
        "list": "the same",
        "next": "a relation of links (RFC 8288)",
        "snapshot": "a parameter of the stream of events",
    },
    "vdsm_xmlrpc": {"status": "the member of each reply"},
}


@pytest.fixture(scope="module")
def names(tree: Tree) -> set[str]:
    """Full names, methods and old names: of the verbs that are here, and of all that VDSM had."""
    verbs = installed.read().verbs.values()
    found = {name for verb in verbs for name in (verb.name, *(old.name for old in verb.legacy_methods))}
    for table, column in (
        (tree.root / "tests/bridge/vdsm_forms.txt", 0),
        (tree.root / "plugins/xmlrpc/tests/vdsm_methods.txt", 1),
    ):
        lines = [line for line in table.read_text().splitlines() if line and not line.startswith("#")]
        found |= {line.split()[column] for line in lines}
    assert len(found) > 400
    return found | {name.partition(".")[2] for name in found if "." in name}


@pytest.mark.parametrize("binding", BINDINGS)
def test_no_binding_names_a_verb(tree: Tree, names: set[str], binding: str) -> None:
    """What a wire needs to know of a verb stands beside it; each exception is used, and has a reason."""
    texts = {
        text for path in tree.modules(binding) for text in rules.named_verbs(path.read_text("utf-8"), names)
    }
    assert sorted(texts - set(ALLOWED[binding])) == [], "declare it with the verb"
    assert sorted(set(ALLOWED[binding]) - texts) == [], "allowed, but not there any more"
