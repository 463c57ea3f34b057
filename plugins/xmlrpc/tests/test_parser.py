"""Requests: what is read, and what is refused without harm."""

from __future__ import annotations

import contextlib
import xmlrpc.client
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdsm_xmlrpc.parser import Limits, NotWellFormed, NotXmlRpc, Request, parse

LIMITS = Limits(depth=8, values=200)


def call(params: str, name: str = "m") -> bytes:
    return f"<methodCall><methodName>{name}</methodName><params>{params}</params></methodCall>".encode()


def value(inner: str) -> bytes:
    return call(f"<param><value>{inner}</value></param>")


texts = st.text(st.characters(min_codepoint=32, max_codepoint=0xD7FF), max_size=20)
values = st.recursive(
    texts
    | st.integers(-(2**31), 2**31 - 1)
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.binary(max_size=20)
    | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(values, max_size=4))
def test_reads_what_the_standard_library_writes(params: list[Any]) -> None:
    """Every value of XML-RPC arrives as it was."""
    body = xmlrpc.client.dumps(tuple(_packed(param) for param in params), "VM.create", allow_none=True)
    assert parse(body.encode(), Limits(50, 10_000)) == Request("VM.create", params)


def _packed(item: Any) -> Any:
    if isinstance(item, bytes):
        return xmlrpc.client.Binary(item)
    if isinstance(item, list):
        return [_packed(inner) for inner in item]
    if isinstance(item, dict):
        return {name: _packed(inner) for name, inner in item.items()}
    return item


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        (" <int> 7 </int> ", 7),
        ("<i4>-1</i4>", -1),
        ("<i8>9223372036854775807</i8>", 2**63 - 1),
        ("<string> two  blanks </string>", " two  blanks "),
        ("<string>a&amp;&lt;b&gt;&#233;</string>", "a&<b>\u00e9"),
        ("<string><![CDATA[<x>]]></string>", "<x>"),
        ("<boolean>1</boolean>", True),
        ("<double>1e3</double>", 1000.0),
        ("<dateTime.iso8601>20260101T00:00:00</dateTime.iso8601>", "20260101T00:00:00"),
        ("<base64>YWJj\nZA==</base64>", b"abcd"),
        ("<nil/>", None),
        ("<array><data></data></array>", []),
        ("<struct></struct>", {}),
        ("<struct>\n <member>\n <name>a</name>\n <value>b</value> </member>\n</struct>", {"a": "b"}),
    ],
)
def test_spellings(inner: str, expected: Any) -> None:
    """Every spelling that clients use is understood; untyped text is a text."""
    assert parse(value(inner), LIMITS) == Request("m", [expected])


def test_other_encodings() -> None:
    """A request says in which encoding it is."""
    body = call("<param><value>\u00e9</value></param>").decode()
    latin = ("<?xml version='1.0' encoding='iso-8859-1'?>" + body).encode("latin-1")
    assert parse(latin, LIMITS).params == ["\u00e9"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no xml",
        b"<methodCall>",
        b"<methodCall></wrong>",
        b"\x00" * 10,
        b"<?xml version='1.0' encoding='klingon'?><methodCall/>",
        value("<string>\x01</string>"),
        value("&undefined;"),
        b'<!DOCTYPE methodCall SYSTEM "file:///etc/passwd">' + value("x"),
        b'<!DOCTYPE m [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + value("&b;"),
        b'<!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + value("&x;"),
        b'<!DOCTYPE m [<!ENTITY % p SYSTEM "http://127.0.0.1/">%p;]>' + value("x"),
    ],
)
def test_not_well_formed(body: bytes) -> None:
    """What is no XML, or has a document type or entities, is refused."""
    with pytest.raises(NotWellFormed):
        parse(body, LIMITS)


@pytest.mark.parametrize(
    "body",
    [
        b"<x/>",
        b"<methodCall/>",
        b"<methodResponse/>",
        call("", name=""),
        call("", name="x" * 300),
        b"<methodCall><methodName>a</methodName><methodName>b</methodName></methodCall>",
        call("<param></param>"),
        call("<param><value>a</value><value>b</value></param>"),
        call("<value>a</value>"),
        value("<int>seven</int>"),
        value("<int></int>"),
        value("<int>1_000</int>"),
        value("<int>" + "9" * 5_000 + "</int>"),
        value("<boolean>true</boolean>"),
        value("<double>nan</double>"),
        value("<double>1e999</double>"),
        value("<base64>%%%</base64>"),
        value("<int>1</int><int>2</int>"),
        value("<float>1</float>"),
        value("<array><value>a</value></array>"),
        value("<struct><member><value>a</value></member></struct>"),
        value("<struct><member><name>a</name></member></struct>"),
        value("<struct><name>a</name></struct>"),
        value("<array><data>" + "<value>a</value>" * 200 + "</data></array>"),
        value("<array><data><value>" * 9 + "x" + "</value></data></array>" * 9),
    ],
)
def test_not_xml_rpc(body: bytes) -> None:
    """What is no request, or exceeds a limit, is refused."""
    with pytest.raises(NotXmlRpc):
        parse(body, LIMITS)


@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    """Whatever arrives is read or refused, and nothing else happens."""
    with contextlib.suppress(NotWellFormed, NotXmlRpc):
        parse(body, LIMITS)


@given(st.data())
def test_mutated_requests(data: st.DataObject) -> None:
    """A request that was cut, doubled or rewritten in a place is read or refused."""
    body = value(
        "<struct><member><name>a</name><value><array><data><value><int>1</int></value></data></array>"
    )
    body += b"</value></member></struct>"
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        cut = data.draw(st.integers(0, 10))
        insert = data.draw(
            st.sampled_from([b"", b"<value>", b"</value>", b"<int>", b"&", b"\xff", b"<!--", b"]]>"])
        )
        body = body[:at] + insert + body[at + cut :]
    with contextlib.suppress(NotWellFormed, NotXmlRpc):
        parse(body, LIMITS)


@pytest.mark.parametrize(
    "body",
    [
        b"<methodCall " + b" ".join(b'a%d="1"' % number for number in range(300_000)) + b">",
        b'<methodCall a="' + b"x" * 3_000_000 + b'">',
        b"<methodCall><!--" + b"x" * 3_000_000 + b"-->",
        b"<methodCall><params" + b" " * 3_000_000,
    ],
    ids=["attributes", "attribute", "comment", "blanks"],
)
def test_tags_are_bounded(body: bytes) -> None:
    """A tag or comment beyond the limit is refused after its first kilobytes, not worked on as a whole."""
    with pytest.raises(NotXmlRpc, match="longer than 8192 bytes"):
        parse(body, LIMITS)


@pytest.mark.parametrize("text", ["y" * 200_000, "y\n" * 100_000, "\u20ac" * 100_000, "&lt;" * 50_000])
def test_long_text_is_no_long_tag(text: str) -> None:
    """The text of a value may be of any length within the body."""
    assert parse(value(text), LIMITS).params == [text.replace("&lt;", "<")]


def test_namespaces_of_other_libraries() -> None:
    """An attribute that a client's library sets is no error."""
    body = b'<methodCall xmlns:ex="http://ws.apache.org/xmlrpc"><methodName>m</methodName></methodCall>'
    assert parse(body, LIMITS).method == "m"
