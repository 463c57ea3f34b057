"""Pickles of plain data are read without pickle, and nothing else is."""

from __future__ import annotations

import ast
import os
import pickle
import pickletools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdsm_virt.saved import pickled
from vdsm_virt.saved.pickled import UnsafePickle

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)
#: What Python 2 wrote of {'vmId': 'a-1', u'name': u'\\xe4', 'n': 5, 'list': [1, 2.5, True, None], 't': (1,)}.
OF_PYTHON_2 = (
    b"\x80\x02}q\x01(U\x04vmIdq\x02U\x03a-1q\x03X\x04\x00\x00\x00nameq\x04X\x02\x00\x00\x00\xc3\xa4q\x05"
    b"U\x01nq\x06K\x05U\x04listq\x07]q\x08(K\x01G@\x04\x00\x00\x00\x00\x00\x00\x88NeU\x01tK\x01\x85q\x09u."
)


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("exit 7",)


@settings(deadline=None)
@given(PLAIN, st.sampled_from([0, 1, 2]), st.binary(max_size=20))
def test_plain_data_of_each_protocol(value, protocol, padding):
    """What VDSM writes, with the padding of a volume after it."""
    assert pickled.decode(pickle.dumps({"value": value}, protocol=protocol) + padding) == {"value": value}


def test_what_python_2_wrote():
    """Its text is bytes."""
    found = pickled.decode(OF_PYTHON_2)
    assert found == {"vmId": "a-1", "name": "ä", "n": 5, "list": [1, 2.5, True, None], "t": (1,)}


def test_what_is_written_vdsm_reads():
    """By the protocol that its Python has."""
    written = pickled.encode({"a": [1, "b"], "c": {"d": None}})
    assert pickle.loads(written) == {"a": [1, "b"], "c": {"d": None}}
    assert max(opcode.proto for opcode, _, _ in pickletools.genops(written)) <= 2


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [Evil(), Evil, {"a": [Evil()]}, os.system, b"bytes", {1}, frozenset()])
def test_what_is_no_plain_data_is_refused(value, protocol, monkeypatch):
    """Classes, functions, and what is made of them; nothing is called."""
    written = pickle.dumps(value, protocol=protocol)
    monkeypatch.setattr(os, "system", lambda _command: pytest.fail("it was called"))
    with pytest.raises(UnsafePickle):
        pickled.decode(written)


def test_no_opcode_reaches_outside_of_the_data():
    """Whatever names a class, calls, builds an object or asks for one by an id is not among those known."""
    forbidden = {
        "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID",
        "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "DUP",
    }  # fmt: skip
    codes = {opcode.code.encode("latin-1"): opcode.name for opcode in pickletools.opcodes}
    assert set(pickled._OPCODES) <= set(codes)
    assert not {codes[code] for code in pickled._OPCODES} & forbidden


#: Each ends too early, refers to nothing, or adds to what is no container.
MALFORMED = [
    'b""',
    'b"."',
    'b"\\x80"',
    'b"\\x80\\x02"',
    'b"\\x80\\x09N."',
    'b"N"',
    'b"NN."',
    'b"(."',
    'b"a."',
    'b"]a."',
    'b"]Na"',
    'b"(NNd."',
    'b"}NNs."',
    'b"}(Nu."',
    'b"h\\x00."',
    'b"q\\x00."',
    'b"X\\xff\\xff\\xff\\xffa."',
    'b"T\\xff\\xff\\xff\\xffa."',
    'b"U\\x02\\xff\\xff."',
    'b"I1x\\n."',
    'b"F1x\\n."',
    'b"V\\\\u12\\n."',
    'b"\\x85."',
    'b"1."',
    'b"0."',
    'b"I\\xb2\\n."',
    'b"g1\\n."',
    'b"p1\\n."',
]


@pytest.mark.parametrize(
    "data", [*map(ast.literal_eval, MALFORMED), b"\x8a\xff" + bytes(255) + b".", b"I" + b"9" * 5000 + b"\n."]
)
def test_malformed_data_are_refused(data):
    """With the one documented error."""
    with pytest.raises(UnsafePickle):
        pickled.decode(data)


def test_what_grows_without_end_is_refused():
    """A list in itself, shared lists that double at each level, deep ones, and large ones."""
    own = []
    own.append(own)
    doubled = [0] * 10
    for _ in range(40):
        doubled = [doubled, doubled]
    deep = []
    for _ in range(200):
        deep = [deep]
    for value in (own, doubled, deep, [0] * (pickled.MAX_VALUES + 1)):
        with pytest.raises(UnsafePickle, match="values"):
            pickled.decode(pickle.dumps(value, protocol=2))
    with pytest.raises(UnsafePickle, match="bytes"):
        pickled.decode(b"N" * (pickled.MAX_BYTES + 1))
