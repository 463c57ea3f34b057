"""The decoders of the REST binding."""

from __future__ import annotations

from vdsm_core.errors import VdsmError
from vdsm_rest.arguments import read_json, read_query
from vdsm_rest.query_options import read

_DEPTH = 30
_ITEMS = [{"name": "a", "size": 1, "inner": {"flag": True, "items": [1, "x"]}}, {"name": "b"}]


def json_body(data: bytes) -> None:
    """A body is JSON within the bound of its depth, or refused."""
    try:
        value = read_json(data, _DEPTH)
    except VdsmError:
        return
    assert _depth(value) <= _DEPTH + 1


def query(data: bytes) -> None:
    """A query string is refused, or chooses among items."""
    try:
        options = read(read_query(data.decode("latin-1")))
    except VdsmError:
        return
    chosen, total = options.choose(_ITEMS)
    assert len(chosen) <= total <= len(_ITEMS)
    for item in chosen:
        options.cut(item)


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return depth
