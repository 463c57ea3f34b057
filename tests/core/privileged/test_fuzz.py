"""Frames as an attacker would send them, who holds the daemon."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.privileged import sample
from tests.soak import chance, count
from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.privileged import connected, serving, watched
from vdsm_core.privileged import frames, operations_of
from vdsm_core.privileged.frames import MAX_REQUEST, ProtocolError, Reply, Request, framed, request_of
from vdsm_core.privileged.server.dispatch import Dispatcher
from vdsm_core.privileged.server.registry import Registry

encode = msgspec.msgpack.Encoder().encode
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def harmless() -> tuple[Dispatcher, list[Any]]:
    """A dispatcher whose operations only note that they were reached."""
    reached: list[Any] = []
    registry = Registry()
    for each in operations_of(sample):
        twin = watched(each, lambda **values: reached.append(values))
        twin.capability_mask = 0
        registry.operations[f"sample.{each.name}"] = twin
    return Dispatcher(registry, 0, {sample.ROOT: "/nonexistent"}), reached


@given(payload=st.binary(max_size=2_000) | PLAIN.map(encode))
@settings(max_examples=300, deadline=None)
def test_any_payload_is_a_request_or_a_protocol_error(payload: bytes) -> None:
    """The parser raises nothing else, and accepts only what it would send itself."""
    with contextlib.suppress(ProtocolError):
        request = request_of(payload)
        assert request_of(framed(request)[4:]) == request


@given(
    name=st.sampled_from([f"sample.{each.name}" for each in operations_of(sample)] + ["x", "helper.reload"]),
    arguments=st.binary(max_size=500) | st.lists(PLAIN, max_size=5).map(encode),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_arguments_get_a_reply(name: str, arguments: bytes) -> None:
    """The dispatcher raises nothing; an operation is reached with values of its types only."""
    dispatcher, reached = harmless()
    reply = dispatcher.answer(Request(1, name, arguments, "", "", 1.0), lambda _: None)
    assert isinstance(reply, Reply)
    for values in reached:
        assert all(not isinstance(value, str) or value.isprintable() for value in values.values())


def damaged(frame: bytes, dice: random.Random) -> bytes:
    """A frame with some bytes changed, left out, doubled, or with another length."""
    data = bytearray(frame)
    for _ in range(dice.randint(1, 6)):
        place = dice.randrange(len(data))
        way = dice.randrange(4)
        if way == 0:
            data[place] = dice.randrange(256)
        elif way == 1:
            del data[place : place + dice.randint(1, 8)]
        elif way == 2:
            data[place:place] = data[place : place + dice.randint(1, 64)]
        else:
            data[:4] = struct.pack(
                "!I", dice.choice([0, 1, len(data), 2**31, 2**32 - 1, dice.randrange(2**20)])
            )
        if not data:
            data += b"\0"
    return bytes(data)


@pytest.mark.soak
def test_a_helper_outlives_damaged_frames(registry: Registry, root: Path) -> None:
    """Each costs its connection at the most; good calls are answered all the time, nothing is left behind."""
    dice = chance("damaged frames")
    described = sample.describe.pack("n", "a", sample.Mode(1), on=True)
    good = [
        framed(Request(1, "sample.add", sample.add.pack(1, 2), "joe", "flow", 2.0)),
        framed(Request(1, "sample.read", sample.read.pack(sample.Opened("a/b")), "joe", "", 2.0)),
        framed(Request(1, "sample.describe", described, "", "", 1.0)),
    ]
    open_files = files()
    with (
        serving(registry, roots={sample.ROOT: str(root)}) as address,
        connected(address, "sample", sample) as client,
    ):
        for number in range(count(400)):
            with socket.socket(socket.AF_UNIX) as attacker:
                attacker.settimeout(0.05)
                attacker.connect(address)
                with contextlib.suppress(OSError):
                    attacker.sendall(damaged(dice.choice(good), dice))
                    attacker.shutdown(socket.SHUT_WR)
                    while attacker.recv(65_536):
                        pass
            if number % 20 == 0:
                assert client.run(sample.add, number % 10) == number % 10 + 1
    # The threads of the last connections may still be about to close them.
    until(lambda: files() <= open_files, detail=files)


def files() -> int:
    """How many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (struct.pack("!I", MAX_REQUEST + 1), "larger than"),
        (struct.pack("!I", 100_000) + b"\x91" * 100_000, "cannot be decoded"),
        (struct.pack("!I", 5) + b"\xdd\xff\xff\xff\xff", "cannot be decoded"),
        (struct.pack("!I", 5) + b"\xdb\xff\xff\xff\xff", "cannot be decoded"),
        (framed(Request(1, "sample.add", b"", "a\nb", "", 1.0)), "cannot be decoded"),
        (framed(Request(2, "sample.add", b"", "", "", 1.0)), "cannot be decoded"),  # type: ignore[arg-type]
        (framed(Request(1, "sample.add", b"", "", "", float("nan"))), "cannot be decoded"),
        (framed(Request(1, "../add", b"", "", "", 1.0)), "cannot be decoded"),
    ],
    ids=["length", "nested", "array", "text", "log line", "version", "nan", "name"],
)
def test_a_bad_frame_is_refused_by_name(registry: Registry, sent: bytes, said: str) -> None:
    """With a reply that says why, and the end of the connection; no memory is taken for what is claimed."""
    with serving(registry) as address, socket.socket(socket.AF_UNIX) as attacker:
        attacker.settimeout(5.0)
        attacker.connect(address)
        attacker.sendall(sent)
        connection = frames.Frames(attacker, 10_000)
        failure = frames.failure_of(frames.reply_of(connection.receive()))
        assert (failure.slug, said in failure.message) == ("invalid-request", True), failure
        with pytest.raises(frames.ProtocolError):
            connection.receive()
