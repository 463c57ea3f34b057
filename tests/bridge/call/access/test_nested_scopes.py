"""What a limited caller may do with objects that lie in others: they are found by all their ids."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from vdsm_bridge.api.collect import collect
from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_bridge.api.marks import Marks, object_path
from vdsm_bridge.api.registry import Registry
from vdsm_bridge.call.access import Scopes
from vdsm_bridge.call.access.explain import Caller, judge
from vdsm_bridge.call.context import Identity
from vdsm_bridge.call.scope import ObjectScope, Scope
from vdsm_bridge.testing.host import TestHost
from vdsm_core.errors import OutOfScope
from vdsm_core.types import Record


def limited(of: str, *ids: str, tags: tuple[str, ...] = ()) -> Identity:
    """Return an operator with limits to some objects."""
    objects = (ObjectScope(of=of, ids=ids, tags=tags),)
    return Identity("joe", "operator", "token", scope=Scope(objects=objects))


RACK = limited("Rack", "left")
DRAWER = limited("Drawer", object_path("left", "a/b"))


@pytest.fixture
def host() -> Iterator[TestHost]:
    """A host with two racks, and drawers of the same ids in both."""
    with TestHost() as started:
        for rack in ("left", "right", "left/a"):
            started.call("Rack.create", rackID=rack)
        drawers = [(rack, drawer) for rack in ("left", "right") for drawer in ("a/b", "c")]
        for rack, drawer in (*drawers, ("left/a", "b")):
            started.call("Drawer.create", rackID=rack, drawerID=drawer)
        yield started


def test_a_parent_includes_its_objects(host: TestHost) -> None:
    """A caller limited to a rack may use every drawer in it, and none of another rack."""
    host.call("Drawer.put", identity=RACK, rackID="left", drawerID="c", tool="saw")
    assert host.call("Drawer.getInfo", identity=RACK, rackID="left", drawerID="c").tools == ["saw"]
    for rack in ("right", "left/a", "LEFT/a", "absent"):
        with pytest.raises(OutOfScope, match="is not within the scope of the caller"):
            host.call("Drawer.put", identity=RACK, rackID=rack, drawerID="c", tool="saw")


def test_all_ids_count(host: TestHost) -> None:
    """A caller limited to a drawer may use neither that of the same id in another rack, nor the rack, nor a
    drawer whose ids are the same text when they are joined."""
    assert host.call("Drawer.getInfo", identity=DRAWER, rackID="left", drawerID="a/b").rack_id == "left"
    for rack, drawer in (("right", "a/b"), ("left", "c"), ("left/a", "b")):
        with pytest.raises(OutOfScope):
            host.call("Drawer.getInfo", identity=DRAWER, rackID=rack, drawerID=drawer)
    with pytest.raises(OutOfScope):
        host.call("Rack.getInfo", identity=DRAWER, rackID="left")


def test_an_own_id_alone_names_no_nested_object(host: TestHost) -> None:
    """It would name an object in each parent."""
    with pytest.raises(OutOfScope):
        host.call("Drawer.getInfo", identity=limited("Drawer", "c"), rackID="left", drawerID="c")


def test_lists_of_a_parent(host: TestHost) -> None:
    """Each caller is shown the drawers within its scope; an unlimited one all."""
    shown = {
        (name, rack): [drawer.drawer_id for drawer in host.call("Drawer.list", identity=caller, rackID=rack)]
        for name, caller in (("rack", RACK), ("drawer", DRAWER))
        for rack in ("left", "right")
    }
    assert shown == {
        ("rack", "left"): ["a/b", "c"],
        ("rack", "right"): [],
        ("drawer", "left"): ["a/b"],
        ("drawer", "right"): [],
    }
    assert [rack.rack_id for rack in host.call("Rack.list", identity=RACK)] == ["left"]
    assert host.call("Rack.list", identity=DRAWER) == []


def test_creating_is_refused(host: TestHost) -> None:
    """Also within a rack of the scope: what a new object is made of cannot be judged."""
    for arguments in ({"rackID": "left", "drawerID": "new"}, {"rackID": "left", "drawerID": "a/b"}):
        with pytest.raises(OutOfScope):
            host.call("Drawer.create", identity=RACK, **arguments)


def test_a_task_is_part_of_its_nested_object(host: TestHost) -> None:
    """The task of a drawer is shown to callers limited to the drawer or its rack, and to no other."""
    task = host.call("Drawer.sort", identity=RACK, rackID="left", drawerID="a/b").task_id
    for caller in (RACK, DRAWER):
        assert task in host.call("Host.getAllTasks", identity=caller)
    assert host.call("Host.getAllTasks", identity=limited("Rack", "right")) == {}
    assert host.call("Host.getAllTasks", identity=limited("Drawer", object_path("right", "a/b"))) == {}


def test_explained_as_judged(host: TestHost) -> None:
    """`can-i` gives the same judgement for the ids of a nested object as the bridge."""
    verb = host.bridge.verbs["Drawer.getInfo"]
    for caller, path, allowed in (
        (RACK, object_path("left", "c"), True),
        (DRAWER, object_path("left", "a/b"), True),
        (RACK, object_path("right", "c"), False),
        (DRAWER, object_path("left", "c"), False),
        (RACK, "c", False),
    ):
        assert judge(verb, Caller(caller, ()), path).allowed is allowed, path


class Place(Record, frozen=True):
    """Where a page is copied to: into the same book, if none is named."""

    book_id: str = msgspec.field(name="bookID", default="")
    page_id: str = msgspec.field(name="pageID", default="")


class Book(Namespace, key="bookID"):
    """A book."""

    def marks_of(self, object_id: str) -> Marks | None:
        """Return the first letter as its tag; a book whose name is in capitals does not exist."""
        return None if object_id.isupper() else Marks(frozenset({object_id[0]}))

    @action(since="1.0")
    def close(self, book_id: str) -> None:
        """Close a book."""


class Covers(Namespace, group_of=Book):
    """Further verbs of `Book`."""

    @action(since="1.0")
    def cover(self, book_id: str) -> None:
        """Put a cover on a book."""


class Page(Namespace, key="pageID", parent=Book):
    """A page of a book."""

    @query(since="1.0", lists="Page")
    def names(self) -> list[str]:
        """Return the ids of pages of any book."""
        return ["1"]

    @action(since="1.0")
    def bind(self, book_id: str) -> None:
        """Bind the pages of a book."""

    @action(since="1.0")
    def copy(self, book_id: str, page_id: str, to: Place) -> None:
        """Copy a page."""


@pytest.fixture
def registry() -> Registry:
    """The verbs of books and pages."""
    found = Registry()
    found.add([verb for each in (Book(), Covers(), Page()) for verb in collect(each, "books")])
    return found


def judged(registry: Registry, verb: str, caller: Identity, **values: object) -> bool:
    """Return whether a call is within the scope of its caller."""
    scopes = Scopes(registry)
    try:
        scopes.check_verb(registry.verbs[verb], caller)
        scopes.check_objects(registry.verbs[verb], values, caller)
    except OutOfScope:
        return False
    return True


def test_a_collection_is_judged_by_its_parent(registry: Registry) -> None:
    """A verb on all pages of a book needs the book in the scope; one page of it does not suffice."""
    assert judged(registry, "Page.bind", limited("Book", "atlas"), book_id="atlas")
    assert not judged(registry, "Page.bind", limited("Book", "atlas"), book_id="bible")
    assert not judged(registry, "Page.bind", limited("Page", "atlas/1"), book_id="atlas")


@pytest.mark.parametrize(
    ("place", "permitted"),
    [
        (Place(), True),
        (Place(page_id="2"), True),
        (Place(book_id="atlas"), True),
        (Place(book_id="bible"), False),
        (Place(book_id="bible", page_id="1"), False),
    ],
)
def test_places_in_other_arguments(registry: Registry, place: Place, permitted: bool) -> None:
    """A struct that names another page, or another book, must name one of the scope."""
    caller = limited("Book", "atlas")
    assert judged(registry, "Page.copy", caller, book_id="atlas", page_id="1", to=place) is permitted


def test_other_pages_are_refused_to_a_caller_of_one(registry: Registry) -> None:
    """A page that another argument names in the same book is judged as a page of that book."""
    caller = limited("Page", "atlas/1")
    for place, permitted in ((Place(page_id="1"), True), (Place(page_id="2"), False)):
        assert judged(registry, "Page.copy", caller, book_id="atlas", page_id="1", to=place) is permitted


def test_pages_without_their_book_are_not_shown(registry: Registry) -> None:
    """A list whose items lack the ids of the parents shows nothing: each could be in any book."""
    for caller in (limited("Book", "atlas"), limited("Page", "atlas/1"), limited("Page", "1")):
        assert Scopes(registry).visible(registry.verbs["Page.names"], {}, ["1"], caller) == []


def test_a_tag_of_the_parent(registry: Registry) -> None:
    """A caller limited to books by a tag may use the pages of such a book."""
    caller = limited("Book", tags=("a",))
    assert judged(registry, "Page.copy", caller, book_id="atlas", page_id="1", to=Place())
    assert not judged(registry, "Page.copy", caller, book_id="bible", page_id="1", to=Place())


def test_a_group_asks_its_namespace(registry: Registry) -> None:
    """Verbs of a group are judged by the marks of the namespace; the group itself reports no object."""
    caller, scopes = limited("Book", tags=("a",)), Scopes(registry)
    assert judged(registry, "Book.cover", caller, book_id="atlas")
    assert not judged(registry, "Book.cover", caller, book_id="bible")
    assert scopes.judge(caller, "Book", "bible") is False
    assert scopes.judge(caller, "Book", "BIBLE") is None


def test_ids_of_another_depth(registry: Registry) -> None:
    """A text with too many or too few ids is no page, whatever the scope names."""
    for text in ("1", "atlas/1/2", ""):
        assert not Scopes(registry).includes(limited("Page", "1", "atlas/1/2"), "Page", text)
