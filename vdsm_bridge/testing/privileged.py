"""For authors of privileged operations: run one with the helper's checks, and try it with hostile arguments.

::

    def test_owner(tmp_path):
        helper = InProcess("storage", vdsm_storage.privileged, roots={IMAGES: str(tmp_path)})
        helper.run(image_set_owner, Entry("disk"), os.getuid())
"""

from __future__ import annotations

import copy
import functools
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

import msgspec
from hypothesis import Phase, find, settings
from hypothesis import strategies as st
from msgspec import inspect

from vdsm_core.privileged import Operation, Root, capabilities, operations_of
from vdsm_core.privileged.client import Caller, PrivilegedClient
from vdsm_core.privileged.server.dispatch import Dispatcher
from vdsm_core.privileged.server.registry import Registry
from vdsm_core.privileged.server.service import Service

__all__ = [
    "HOSTILE_TEXT",
    "Hostile",
    "InProcess",
    "connected",
    "hostile_calls",
    "sample",
    "serving",
    "watched",
]

P = ParamSpec("P")
R = TypeVar("R")

#: Text that no operation may accept, with the danger of each.
HOSTILE_TEXT: Final[Mapping[str, str]] = {
    "traversal": "../outside",
    "traversal within": "folder/../../outside",
    "parent": "..",
    "here": ".",
    "empty": "",
    "absolute": "/etc/passwd",
    "NUL": "folder\0/etc",
    "line end": "name\n",
    "two lines": "name\nother",
    "option": "-rf",
    "long option": "--delete",
    "terminal": "\x1b[2J",
    "a megabyte": "A" * 2**20,
}
#: Values that have the right type nowhere, or almost nowhere.
_ODD: Final[Mapping[str, Any]] = {
    "nothing": None,
    "nested": [[[[[[[[]]]]]]]],
    "a dictionary": {"a": {"b": {}}},
    "infinite": float("inf"),
    "not a number": float("nan"),
    "huge": 2**64 - 1,
    "negative": -(2**63),
    "bytes": b"\xff\xfe",
}


class Hostile(NamedTuple):
    """Arguments of a call, encoded, of which one is hostile."""

    parameter: str
    danger: str
    arguments: bytes


class InProcess:
    """Runs operations in the process of the test: same frames, same checks, same errors.

    :param plugin: the name that the plugin has
    :param module: its module with operations
    :param roots: other places of roots, by root
    :param table: the options of the plugin in the helper's configuration
    """

    def __init__(
        self,
        plugin: str,
        module: object,
        roots: Mapping[Root, str] | None = None,
        table: Mapping[str, Any] | None = None,
    ) -> None:
        self._registry = Registry()
        self._registry.add(plugin, operations_of(module), table)
        self._plugin = plugin
        self._module = module
        self._roots = roots or {}

    def run(self, operation: Operation[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run an operation, as `Runtime.privileged` does.

        :raises VdsmError: see `PrivilegedClient.run`
        """
        with (
            serving(self._registry, roots=self._roots) as address,
            connected(address, self._plugin, self._module) as client,
        ):
            return client.run(operation, *args, **kwargs)


@contextmanager
def serving(
    registry: Registry,
    *,
    roots: Mapping[Root, str] | None = None,
    peers: Collection[int] | None = None,
    held: int | None = None,
) -> Iterator[str]:
    """Serve operations on a socket, on threads of the test, and yield its path.

    :param roots: other places of roots
    :param peers: the user ids that are let in; without them, the one of this process
    :param held: the mask of capabilities that operations can raise; without it, those of this process
    """
    mask = capabilities.current().permitted if held is None else held
    with (
        tempfile.TemporaryDirectory(prefix="vdsm-helper-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
    ):
        path = str(Path(folder) / "socket")
        listener.bind(path)
        Path(path).chmod(0o666)
        Path(folder).chmod(0o755)
        listener.listen()
        dispatcher = Dispatcher(registry, mask, roots)
        service = Service(listener, dispatcher, {os.geteuid()} if peers is None else peers)
        thread = threading.Thread(target=lambda: service.serve(stopped=lambda: stopped), name="helper")
        stopped = False
        thread.start()
        try:
            yield path
        finally:
            stopped = True
            service.finish()
            thread.join()
            service.drain(5.0)
            service.close()


@contextmanager
def connected(
    address: str, plugin: str, module: object, caller: Callable[[], Caller] = Caller
) -> Iterator[PrivilegedClient]:
    """Yield a client that may call the operations of a module."""
    client = PrivilegedClient(address, caller)
    client.register(plugin, operations_of(module))
    try:
        yield client
    finally:
        client.close()


def watched(operation: Operation[P, R], function: Callable[..., Any]) -> Operation[P, R]:
    """Return a copy of an operation that runs another function, with the same checks."""
    twin = copy.copy(operation)
    twin.function = function
    return twin


def hostile_calls(operation: Operation[..., Any]) -> Iterator[Hostile]:
    """Yield calls that an operation has to refuse: each parameter in turn is hostile, the others are fit."""
    encode = msgspec.msgpack.Encoder().encode
    fields = msgspec.structs.fields(operation.arguments_type)
    fit = [sample(field.type) for field in fields]
    for number, field in enumerate(fields):
        for danger, value in {**HOSTILE_TEXT, **_ODD}.items():
            if not _accepts(field.type, value):
                yield Hostile(field.name, danger, encode([*fit[:number], value, *fit[number + 1 :]]))
        surrogate = encode([*fit[:number], "@@@", *fit[number + 1 :]]).replace(b"@@@", b"\xed\xa0\x80")
        yield Hostile(field.name, "a lone surrogate", surrogate)
    yield Hostile("", "one argument too many", encode([*fit, 1]))
    yield Hostile("", "a dictionary", encode(dict.fromkeys("abc", 1)))
    yield Hostile("", "nothing", b"")
    yield Hostile("", "nested without end", b"\x91" * 100_000)
    if fit:
        yield Hostile("", "one argument too few", encode(fit[:-1]) if fields[-1].required else b"\xc1")


def sample(type_: Any) -> Any:
    """Return a value that a type of an argument accepts, as it travels."""
    return _sample(inspect.type_info(type_))


def _sample(info: Any) -> Any:
    if isinstance(info, inspect.Metadata):
        return _sample(info.type)
    if isinstance(info, inspect.UnionType):
        return _sample(info.types[0])
    if isinstance(info, inspect.StructType):
        return _sample_struct(info)
    if isinstance(info, inspect.StrType):
        return _sample_text(info.pattern or "", info.min_length or 0, info.max_length or 0)
    return _sample_plain(info)


@functools.cache
def _sample_text(pattern: str, least: int, most: int) -> str:
    fits = st.from_regex(pattern).filter(lambda text: least <= len(text) <= most)
    return find(fits, lambda _: True, settings=settings(database=None, phases=[Phase.generate]))


def _sample_struct(info: inspect.StructType) -> Any:
    values = {field.encode_name: _sample(field.type) for field in info.fields}
    return list(values.values()) if info.array_like else values


def _sample_plain(info: Any) -> Any:
    match info:
        case inspect.IntType() | inspect.FloatType():
            found: Any = info.ge if info.ge is not None else (info.gt or 0) + 1
        case inspect.LiteralType():
            found = info.values[0]
        case inspect.EnumType():
            found = next(iter(info.cls)).value
        case inspect.BoolType():
            found = False
        case inspect.BytesType():
            found = bytes(info.min_length or 0)
        case inspect.UUIDType():
            found = "11111111-2222-4333-8444-555555555555"
        case inspect.TupleType():
            found = [_sample(each) for each in info.item_types]
        case inspect.DictType():
            found = {}
        case inspect.NoneType():
            found = None
        case _:
            found = [_sample(info.item_type)] * (info.min_length or 0)
    return found


def _accepts(type_: Any, value: Any) -> bool:
    """Whether a value that is odd for most types is fit for this one: None where None is allowed, and so on.

    Hostile text is fit for none.
    """
    if isinstance(value, str):
        return False
    try:
        msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=type_)
    except msgspec.DecodeError:
        return False
    return True
