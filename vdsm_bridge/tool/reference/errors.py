"""The page of errors."""

from __future__ import annotations

from typing import Final

from vdsm_bridge.tool.installed import Installed
from vdsm_bridge.tool.reference.markdown import prose
from vdsm_bridge.tool.reference.sources import Sources
from vdsm_core.errors import VdsmError, tree

_INTRODUCTION: Final = """\
# Errors

One tree of errors serves every binding. The *slug* is stable, and what programs compare; the *code* is
VDSM's number, 100 where VDSM had none. The message says what cannot be done, and why; its words may change.
An indented error is a special case of the one above it.
"""


def page(_: Installed, sources: Sources) -> str:
    """Return `errors.md`."""
    errors = [error for error in _first_parents() if sources.declare(error) and "slug" in vars(error)]
    outline = [f"{'  ' * _depth(error)}- [`{error.slug}`](#{error.slug})" for error in errors]
    return "\n".join([_INTRODUCTION, *outline, "", *(_error(error) for error in errors)])


def _first_parents(root: type[VdsmError] = VdsmError) -> list[type[VdsmError]]:
    """Return the tree, each error below its first parent only."""
    children = [child for child in tree(root) if child.__bases__[0] is root]
    return [root, *(error for child in children for error in _first_parents(child))]


def _depth(error: type[VdsmError]) -> int:
    return 0 if error is VdsmError else 1 + _depth(error.__bases__[0])


def _error(error: type[VdsmError]) -> str:
    own = error is not VdsmError and error.template != VdsmError.template
    message = f"Message: “{error.template}”\n" if own else ""
    return f"### {error.slug}\n\n{prose(error)}\n\nCode {error.code}, `{error.__name__}`.\n\n{message}"
