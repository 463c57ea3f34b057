"""Objects that lie in others: their paths, tags, lists, and the document about them."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from .conftest import Served
from .rest_client import RestClient

RACK = "rack 1/a"
DRAWERS = f"/api/racks/{quote(RACK, safe='')}/drawers"


@pytest.fixture(autouse=True)
def racks(served: Served) -> None:
    """Two racks with drawers."""
    for rack in (RACK, "other"):
        served.host.call("Rack.create", rackID=rack)
        for drawer in ("a", "b", "c"):
            served.host.call("Drawer.create", rackID=rack, drawerID=drawer, name=f"{drawer} of {rack}")


def test_location(client: RestClient) -> None:
    """The address of a new object has the ids of its parents and its own, percent-encoded."""
    made = client.post(DRAWERS, {"drawerID": "ä/1", "name": "new"})
    assert (made.status, made["Location"]) == (201, f"{DRAWERS}/%C3%A4%2F1")
    item = client.get(made["Location"])
    assert item.json == made.json == {"rackID": RACK, "drawerID": "ä/1", "name": "new", "tools": []}
    assert client.delete(made["Location"]).status == 204
    assert client.get(made["Location"]).json["slug"] == "no-such-drawer"


def test_lists(client: RestClient) -> None:
    """The children of one parent, with filters, fields and pages; there is no list of all."""
    everything = client.get(DRAWERS)
    assert everything["Total-Count"] == "3"
    assert {drawer["rackID"] for drawer in everything.json} == {RACK}
    page = client.get(f"{DRAWERS}?fields=drawerID&limit=1&offset=1")
    assert page.json == [{"drawerID": "b"}]
    assert f"<{DRAWERS}?" in page["Link"]
    assert [d["drawerID"] for d in client.get(f"{DRAWERS}?filter=drawerID:c").json] == ["c"]
    assert client.get("/api/drawers").status == 404
    assert client.get("/api/racks/nothing/drawers").json["slug"] == "no-such-rack"


def test_entity_tags(client: RestClient) -> None:
    """A condition on a nested object compares that object, not its parent, and not its namesake."""
    first, tag = f"{DRAWERS}/a", client.get(f"{DRAWERS}/a")["ETag"]
    other = client.get("/api/racks/other/drawers/a")["ETag"]
    assert tag != other
    assert client.post(f"{first}/put", {"tool": "saw"}, If_Match=other).status == 412
    assert client.post(f"{first}/put", {"tool": "saw"}, If_Match=tag).status == 200
    assert client.delete(first, If_Match=tag).status == 412
    assert client.get(first, If_None_Match=client.get(first)["ETag"]).status == 304
    # What is made has no tag yet, and that of its parent does not stand for it.
    rack = client.get(f"/api/racks/{quote(RACK, safe='')}")["ETag"]
    assert client.post(DRAWERS, {"drawerID": "d"}, If_Match=rack).status == 412


def test_ids_belong_into_the_path(client: RestClient) -> None:
    """An id that stands in the path already is refused in the body, whatever its place in the declaration."""
    refused = client.post(f"{DRAWERS}/a/put", {"tool": "saw", "rackID": "other"})
    assert refused.status == 422
    assert "rackID" in refused.json["detail"]
    assert client.get(f"{DRAWERS}/a/stats").json == {"count": 0}


def test_document(client: RestClient) -> None:
    """The document has the nested paths with all their parameters; the root links what needs no id."""
    paths = client.get("/api/openapi.json").json["paths"]
    put = paths["/api/racks/{rackID}/drawers/{drawerID}/put"]["post"]
    assert [p["name"] for p in put["parameters"] if p["in"] == "path"] == ["rackID", "drawerID"]
    assert "If-Match" in {parameter["name"] for parameter in put["parameters"]}
    assert set(put["requestBody"]["content"]["application/json"]["schema"]["properties"]) == {"tool", "pause"}
    create = paths["/api/racks/{rackID}/drawers"]["post"]
    assert "If-Match" not in {parameter["name"] for parameter in create["parameters"]}
    assert "404" in create["responses"]
    rels = {link["rel"] for link in client.get("/api").json["links"]}
    assert "racks" in rels
    assert not {rel for rel in rels if "drawer" in rel}
