"""Routes of objects that lie in others, and the document about them."""

from __future__ import annotations

from typing import Any

import pytest

from vdsm_bridge import Namespace, query
from vdsm_bridge.api.collect import collect
from vdsm_bridge.api.routes import Place, Route, derive

from .test_namespace import STORAGE, Domain, Image, Snapshots, Volume

VOLUMES = "/storage-domains/{storagedomainID}/images/{imageID}/volumes"
ITEM = VOLUMES + "/{volumeID}"


@pytest.fixture(scope="module")
def routes() -> dict[str, Route]:
    """The own routes of the verbs, by verb."""
    snap = {verb.name: verb for verb in collect(Snapshots())}
    return {route.operation: route for route in derive({**STORAGE, **snap}).routes}


@pytest.mark.parametrize(
    ("verb", "method", "path", "item"),
    [
        ("StorageDomain.getInfo", "GET", "/storage-domains/{storagedomainID}", True),
        ("Image.getVolumes", "GET", "/storage-domains/{storagedomainID}/images/{imageID}/volumes", True),
        ("Volume.getInfo", "GET", ITEM, True),
        ("Volume.extendSize", "POST", f"{ITEM}/extend-size", True),
        ("Volume.snap", "POST", f"{ITEM}/snap", True),
        ("Volume.create", "POST", VOLUMES, False),
        ("Volume.getCount", "GET", f"{VOLUMES}/count", False),
        ("Volume.forget", "POST", "/volumes/forget", False),
    ],
)
def test_paths(routes: dict[str, Route], verb: str, method: str, path: str, item: bool) -> None:
    """A verb lies below the objects whose ids it requires; a route on an object leads back to that object."""
    route = routes[verb]
    assert (route.method, route.path) == (method, path)
    keys = [f"{{{key}}}" for key in STORAGE[verb].keys] if verb in STORAGE else []
    assert [part for part in path.split("/") if part.startswith("{")] == keys or verb == "Volume.snap"
    if item:
        assert route.path.startswith(route.item)
        assert route.item.endswith("ID}")
    else:
        assert route.item == ""


def test_places(routes: dict[str, Route]) -> None:
    """The ids of the place are in the path, wherever they stand among the parameters; all else as ever."""
    places = {a.param.name: a.place for a in routes["Volume.extendSize"].arguments}
    ids = dict.fromkeys(("storagedomainID", "imageID", "volumeID"), Place.PATH)
    assert places == {"storagepoolID": Place.MEMBER, "newSize": Place.MEMBER, **ids}
    created = {a.param.name: a.place for a in routes["Volume.create"].arguments}
    assert created["volumeID"] is Place.MEMBER


def test_list_that_the_parent_has() -> None:
    """`getImages` of a domain is the list of the images in it: one route, with what a list has."""

    class Lists(Namespace, group_of=Domain):
        """What is in a domain."""

        @query(since="1.0")
        def get_images(self, storagedomain_id: str) -> list[str]:
            """The images of a domain."""
            return [storagedomain_id]

    verbs = {verb.name: verb for group in (Domain(), Lists(), Image()) for verb in collect(group)}
    derived = derive(verbs)
    assert derived.conflicts == ()
    (route,) = [r for r in derived.routes if r.path == "/storage-domains/{storagedomainID}/images"]
    assert (route.method, route.part, route.operation) == ("GET", "list", "StorageDomain.getImages")
    assert route.namespace is Image


def test_all_at_once() -> None:
    """A list of all objects, whatever they lie in, has a collection at the top."""

    class All(Namespace, group_of=Volume):
        """Volumes of everything."""

        @query(since="1.0", name="list", part="list")
        def all(self, kinds: list[str] = []) -> list[str]:  # noqa: B006 - the bridge copies defaults
            """Every volume of the host."""
            return kinds

    verbs: dict[str, Any] = {verb.name: verb for verb in collect(All())}
    assert [r.path for r in derive(verbs).routes if r.operation == "Volume.list"] == ["/volumes"]
