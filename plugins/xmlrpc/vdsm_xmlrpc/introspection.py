"""Replies of `system.methodHelp` and `system.methodSignature`, from the declarations of the verbs."""

from __future__ import annotations

from typing import Final

from vdsm_bridge import Kind
from vdsm_xmlrpc.methods import Canonical, Method

SYSTEM_HELP: Final = {
    "system.listMethods": "Return the names of all methods that can be called now.",
    "system.methodHelp": "Return what a method does, its parameters, and the errors that it raises.",
    "system.methodSignature": "Return the signatures of a method: arrays of types, the reply first.",
    "system.callByName": (
        "Call a canonical method with its arguments by name, in one struct; also where a struct as the only "
        "parameter would be taken for the first argument."
    ),
    "system.multicall": (
        "Make several calls in one request. Each is a struct of methodName and params; each result is an "
        "array of the reply, or the struct of a fault."
    ),
}
SYSTEM_SIGNATURES: Final = {
    "system.listMethods": [["array"]],
    "system.methodHelp": [["string", "string"]],
    "system.methodSignature": [["array", "string"]],
    "system.callByName": [["struct", "string", "struct"]],
    "system.multicall": [["array", "array"]],
}
#: Every reply is VDSM's envelope.
_REPLY: Final = "struct"


def signatures(method: Method) -> list[list[str]]:
    """Return an array for each possible number of parameters; for a canonical method also all by name."""
    kinds = [kind for _, kind, _ in method.positions]
    least = max((place for place, (_, _, needed) in enumerate(method.positions, 1) if needed), default=0)
    shapes = [[_REPLY, *kinds[:count]] for count in range(least, len(kinds) + 1)]
    if isinstance(method, Canonical) and kinds and method.takes_names:
        shapes.append([_REPLY, "struct"])
    return shapes


def help_text(method: Method) -> str:
    """Return the docstring of the verb, with its parameters and errors."""
    verb = method.verb
    call = ", ".join(name if needed else f"[{name}]" for name, _, needed in method.positions)
    lines = [f"{method.name}({call})", "", verb.summary]
    if method.name != verb.name:
        lines += ["", f"An old name of {verb.name}."]
    if verb.description:
        lines += ["", verb.description]
    documented = [f"  {param.name}: {param.doc}" for param in verb.params if param.doc]
    if documented:
        lines += ["", "Parameters:", *documented]
    if verb.result_doc:
        lines += ["", f"Returns: {verb.result_doc}"]
    if verb.errors:
        lines += ["", "Errors:", *(f"  {error.slug} ({error.code})" for error in verb.errors)]
    article = "An" if verb.kind is Kind.ACTION else "A"
    lines += ["", f"{article} {verb.kind} since {verb.declaration.since}; it needs the role '{verb.access}'."]
    return "\n".join(lines)
