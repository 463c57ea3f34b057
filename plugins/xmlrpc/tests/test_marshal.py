"""Replies: the compiled functions write what the standard library reads back as the same data."""

from __future__ import annotations

import enum
import xmlrpc.client
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vdsm_bridge.testing.sample import Lamp, LampParams, LampSpec, Room, Spellings
from vdsm_bridge.types import SPELL_1, SPELL_2, SPELL_TEXT, SPELL_TITLE, SPELLING, Open, Record, builtins
from vdsm_xmlrpc import scalars
from vdsm_xmlrpc.marshal import Marshaller


def spelled(type_: Any, spelling: str) -> Any:
    return Annotated[type_, msgspec.Meta(extra={SPELLING: spelling})]


TextInt = spelled(int, SPELL_TEXT)
TextFloat = spelled(float, SPELL_TEXT)
TextBool = spelled(bool, SPELL_TEXT)
TitleBool = spelled(bool, SPELL_TITLE)
Two = spelled(float, SPELL_2)
One = spelled(float, SPELL_1)


class Leaf(Record, frozen=True, kw_only=True):
    """One member of each kind."""

    text: str
    whole: int
    fraction: float
    flag: bool
    text_int: TextInt
    text_float: TextFloat
    text_bool: TextBool
    title_bool: TitleBool
    two: Two
    one: One
    choice: Literal["up", "down"] = "up"
    odd_name: str = msgspec.field(name="{odd} <&> 'name", default="")
    maybe_text: str | None = None
    maybe_int: int | msgspec.UnsetType = msgspec.UNSET
    maybe_spelled: TextInt | msgspec.UnsetType = msgspec.UNSET
    either: int | str = 0


class Tree(Record, frozen=True, kw_only=True):
    """Containers of everything, itself included."""

    leaf: Leaf
    leaves: list[Leaf] = []
    by_name: dict[str, Leaf] = {}
    children: list[Tree] = []
    numbers: list[int] = []
    spelled: list[TextInt] = []
    gaps: list[int | None] = []
    spelled_gaps: dict[str, TextInt | None] = {}
    places: dict[int, bool] = {}
    nested: dict[str, list[dict[str, float]]] = {}
    anything: Any = None
    optional: Leaf | None = None


def loads(value: str) -> Any:
    return xmlrpc.client.loads(f"<params><param>{value}</param></params>")[0][0]


def dumps(plain: Any) -> Any:
    """What the standard library's writer and reader make of plain data."""
    return xmlrpc.client.loads(xmlrpc.client.dumps((plain,), allow_none=True))[0][0]


# The rules stated once more, of types and values alone; nothing of the compiled functions is used here.


def expected(value: Any, spelling: str = "") -> Any:
    if isinstance(value, msgspec.Struct):
        return {
            field.encode_name: expected(item, _spelling(field.type))
            for field in msgspec.structs.fields(value)
            if (item := getattr(value, field.name)) is not None and item is not msgspec.UNSET
        }
    if isinstance(value, dict):
        return {_key(key): expected(item, spelling) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [expected(item, spelling) for item in value]
    return _scalar(value, spelling)


def _scalar(value: Any, spelling: str) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return {SPELL_TEXT: str(value).lower(), SPELL_TITLE: str(value)}.get(spelling, value)
    if spelling in (SPELL_1, SPELL_2):
        return spelling % value
    if spelling == SPELL_TEXT or (isinstance(value, int) and not -(2**31) <= value < 2**31):
        return str(value)
    return value


def _spelling(type_: Any) -> str:
    """The spelling that stands anywhere in an annotation; the types above have one each at the most."""
    for meta in getattr(type_, "__metadata__", ()):
        return str(meta.extra[SPELLING])
    return next(filter(None, map(_spelling, getattr(type_, "__args__", ()))), "")


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(key)


safe_text = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x10FFFF, exclude_categories=["Cs", "Cc"]).filter(
        lambda c: c not in "\ufffe\uffff"
    ),
    max_size=12,
)
whole = st.integers(-(2**70), 2**70)
fraction = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.builds(
    Leaf,
    text=safe_text,
    whole=whole,
    fraction=fraction,
    flag=st.booleans(),
    text_int=whole,
    text_float=fraction,
    text_bool=st.booleans(),
    title_bool=st.booleans(),
    two=fraction,
    one=fraction,
    choice=st.sampled_from(["up", "down"]),
    odd_name=safe_text,
    maybe_text=st.none() | safe_text,
    maybe_int=st.just(msgspec.UNSET) | whole,
    maybe_spelled=st.just(msgspec.UNSET) | whole,
    either=st.integers(-5, 5) | safe_text,
)
anything = st.recursive(
    safe_text | whole | fraction | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(safe_text, inner, max_size=3),
    max_leaves=8,
)
trees = st.recursive(
    st.builds(
        Tree,
        leaf=leaves,
        leaves=st.lists(leaves, max_size=2),
        by_name=st.dictionaries(safe_text, leaves, max_size=2),
        numbers=st.lists(whole, max_size=3),
        spelled=st.lists(whole, max_size=3),
        gaps=st.lists(st.none() | whole, max_size=3),
        spelled_gaps=st.dictionaries(safe_text, st.none() | whole, max_size=3),
        places=st.dictionaries(st.integers(0, 9), st.booleans(), max_size=3),
        nested=st.dictionaries(
            safe_text, st.lists(st.dictionaries(safe_text, fraction, max_size=2), max_size=2), max_size=2
        ),
        anything=anything,
        optional=st.none() | leaves,
    ),
    lambda inner: st.builds(Tree, leaf=leaves, children=st.lists(inner, max_size=2)),
    max_leaves=3,
)

MARSHALLER = Marshaller()


@given(trees)
def test_means_what_the_standard_library_would_say(tree: Tree) -> None:
    """A typed result reads back as the data that the rules of spelling make of it, by either writer."""
    plain = expected(tree)
    assert loads(MARSHALLER.encoder(Tree)(tree)) == plain
    assert dumps(plain) == plain


@given(trees)
def test_every_way_writes_the_same(tree: Tree) -> None:
    """By type, by value, and in pieces: the same text."""
    by_type = MARSHALLER.encoder(Tree)(tree)
    assert MARSHALLER.any(tree) == by_type
    assert b"".join(MARSHALLER.splitter(list[Tree])([tree])).decode() == MARSHALLER.any([tree])
    assert b"".join(MARSHALLER.splitter(dict[str, Tree])({"a": tree})).decode() == MARSHALLER.any({"a": tree})
    assert b"".join(MARSHALLER.splitter(Tree)(tree)).decode() == by_type


@pytest.mark.parametrize("count", [0, 1, 1_000])
def test_pieces(count: int) -> None:
    """A large array comes in pieces of bounded size that make up one text."""
    words = ["<word>" * 100] * count
    pieces = MARSHALLER.splitter(list[str])(words)
    assert loads(b"".join(pieces).decode()) == words
    assert max(map(len, pieces)) < 70_000


@given(anything)
def test_plain_data(data: Any) -> None:
    """Data without a type reads back as it was, numbers over 32 bits as text."""
    assert loads(MARSHALLER.any(data)) == expected(data)


@given(st.text())
@example("\x00\x1f\ud800\udfff\ufffe\uffff\x7f\x85\u2028")
@example("a\rb\r\nc\td")
def test_any_text(text: str) -> None:
    """No text breaks a reply: what XML cannot carry is replaced, all else arrives, carriage returns too."""
    wanted = "".join("\ufffd" if _no_xml(character) else character for character in text)
    assert loads(MARSHALLER.encoder(str)(text)) == wanted
    assert loads(MARSHALLER.any({text: 1})) == {wanted: 1}


def _no_xml(character: str) -> bool:
    # XML 1.0, production 2, written out.
    code = ord(character)
    return not (code in (9, 10, 13) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000)


def test_texts_of_a_struct_are_escaped_where_needed() -> None:
    """One text with a special character among many harmless ones is escaped."""

    class Three(Record, frozen=True):
        a: str
        b: str
        c: str

    three = Three(a="x", b="<&>\x00", c="y")
    assert loads(MARSHALLER.encoder(Three)(three)) == {"a": "x", "b": "<&>\ufffd", "c": "y"}


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**63, 10**40])
def test_long_numbers_are_text(value: int) -> None:
    """Over 32 bits a number is its decimal text; within, it is an int."""
    assert loads(MARSHALLER.encoder(int)(value)) == str(value)
    assert "<int>" in MARSHALLER.encoder(int)(2**31 - 1)
    assert "<int>" in MARSHALLER.encoder(int)(-(2**31))


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_is_no_number_is_text(value: float) -> None:
    """XML-RPC has no infinity and no NaN."""
    assert loads(MARSHALLER.encoder(float)(value)) == repr(value)


def test_sample() -> None:
    """The sample's spellings, as VDSM's clients would see them."""
    reply = loads(MARSHALLER.encoder(Spellings)(Room().get_spellings()))
    assert reply["textUint"] == "9223372036854775808"
    assert (reply["textBool"], reply["titleBool"], reply["flag"]) == ("true", "False", True)
    assert (reply["twoPlaces"], reply["onePlace"]) == ("1.00", "2.2")
    assert "absent" not in reply


class Colour(enum.Enum):
    """For `test_other_values`."""

    RED = "red"


class Bag(Open[LampSpec]):
    """Known and unknown members."""


class Tagged(msgspec.Struct, tag_field="kind", tag="tagged"):
    """A struct that says what it is."""

    a: int


class Pair(msgspec.Struct, array_like=True):
    """A struct that is an array."""

    a: int
    b: str


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"x"), b"x"),
        ((1, "a"), [1, "a"]),
        ({1}, [1]),
        (Colour.RED, "red"),
        ({Colour.RED: 1, True: 2, 7: 3}, {"red": 1, "true": 2, "7": 3}),
        ({"a": msgspec.UNSET, "b": None, "c": 1}, {"c": 1}),
        (Tagged(1), {"kind": "tagged", "a": 1}),
        (Pair(1, "x"), [1, "x"]),
        (
            Bag(LampSpec(lamp_id="i", name="n"), {"x": [1]}),
            {"lampID": "i", "name": "n", "colour": "red", "watts": 10, "x": [1]},
        ),
    ],
)
def test_other_values(value: Any, plain: Any) -> None:
    """What else a verb may return."""
    read = loads(MARSHALLER.any(value))
    assert (read.data if isinstance(read, xmlrpc.client.Binary) else read) == plain
    assert MARSHALLER.encoder(type(value) if not isinstance(value, dict) else dict[Any, Any])(
        value
    ) == MARSHALLER.any(value)


def test_subclass_of_the_declared_type() -> None:
    """A struct with more members than the declared type has shows them all."""

    class Special(Lamp, frozen=True, kw_only=True):
        shade: str

    special = Special(lamp_id="i", name="n", colour="red", watts=1, lit=True, hours=0, shade="paper")
    assert loads(MARSHALLER.encoder(Lamp)(special)) == builtins(special)
    assert loads(MARSHALLER.encoder(list[Lamp])([special])) == [builtins(special)]


@pytest.mark.parametrize(("value", "plain"), [(7, 7), ("7", "7"), ([7], ["7"]), ({"a": 1.0}, {"a": "1.00"})])
def test_unions(value: Any, plain: Any) -> None:
    """Each member of a union has its own spelling."""

    class Either(Record, frozen=True):
        it: int | str | list[TextInt] | dict[str, Two] | None

    assert loads(MARSHALLER.encoder(Either)(Either(it=value))) == {"it": plain}


def test_open_members() -> None:
    """A type with open members is one flat struct, wherever it stands."""

    class Holder(Record, frozen=True):
        params: LampParams

    holder = Holder(params=LampParams(LampSpec(lamp_id="i", name="n"), {"extra": {"a": "b"}}))
    assert loads(MARSHALLER.encoder(Holder)(holder))["params"]["extra"] == {"a": "b"}


@pytest.mark.parametrize("write", [MARSHALLER.any, MARSHALLER.encoder(list[Any])])
def test_what_cannot_be_written(write: Callable[[Any], str]) -> None:
    """A thing that is no data is an error, not text."""
    with pytest.raises(TypeError):
        write([object()])


def test_unknown_spelling() -> None:
    """An unknown spelling is an error when it is used."""
    with pytest.raises(KeyError):
        scalars.spelled(1, "roman")
