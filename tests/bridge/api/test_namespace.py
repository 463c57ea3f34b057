"""Namespaces: in other ones, across plugins, and in several classes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from vdsm_bridge import Namespace, action, query, task
from vdsm_bridge.api.agreement import MissingParent, VerbConflict
from vdsm_bridge.api.collect import collect
from vdsm_bridge.api.namespace import kebab
from vdsm_bridge.api.registry import Registry
from vdsm_bridge.api.verb import Verb
from vdsm_core.errors import Unavailable
from vdsm_core.work.references import Reference


class Domain(Namespace, name="StorageDomain", key="storagedomainID"):
    """A place for images."""

    @query(since="1.0", part="get")
    def get_info(self, storagedomain_id: str) -> str:
        """One domain."""
        return storagedomain_id


class Image(Namespace, key="imageID", parent=Domain, listed_by="StorageDomain.getImages"):
    """An image in a domain."""

    @query(since="1.0")
    def get_volumes(self, image_id: str, storagepool_id: str, storagedomain_id: str) -> str:
        """The volumes of an image, in VDSM's order of parameters."""
        return image_id + storagepool_id + storagedomain_id


class Volume(Namespace, key="volumeID", parent=Image):
    """A volume of an image."""

    @query(since="1.0", part="get")
    def get_info(self, volume_id: str, storagepool_id: str, storagedomain_id: str, image_id: str) -> str:
        """One volume, in VDSM's order."""
        return volume_id + storagepool_id + storagedomain_id + image_id

    @action(since="1.0")
    def extend_size(
        self, storagepool_id: str, storagedomain_id: str, image_id: str, volume_id: str, new_size: int
    ) -> None:
        """Make it larger, in VDSM's other order."""

    @task(since="1.0", part="create")
    def create(self, volume_id: str, storagedomain_id: str, image_id: str, size: int) -> None:
        """Make a volume of this id."""

    @action(since="1.0")
    def forget(self, storagedomain_id: str, volume_id: str = "", image_id: str = "") -> None:
        """Name a domain, and perhaps more."""

    @query(since="1.0")
    def get_count(self, image_id: str, storagedomain_id: str) -> int:
        """How many an image has."""
        return len(image_id + storagedomain_id)


def named(**keywords: Any) -> type[Namespace]:
    """The class of another plugin, which names its parent."""

    def count(self: Any, storagedomain_id: str, lease_id: str) -> int:
        """How often it was taken."""
        return len(f"{self}{storagedomain_id}{lease_id}")

    count.__annotations__.update({"storagedomain_id": str, "lease_id": str, "return": int})
    keywords = {"key": "leaseID", "parent": "StorageDomain", **keywords}
    return type(
        "Lease", (Namespace,), {"count": query(since="1.0")(count), "__doc__": "A lease."}, **keywords
    )


def verbs(*namespaces: Namespace, plugin: str = "storage") -> dict[str, Verb]:
    return {verb.name: verb for namespace in namespaces for verb in collect(namespace, plugin)}


STORAGE = verbs(Domain(), Image(), Volume())
IDS = ("storagedomainID", "imageID", "volumeID")


@pytest.mark.parametrize(
    ("verb", "on_object", "keys"),
    [
        ("StorageDomain.getInfo", True, IDS[:1]),
        ("Image.getVolumes", True, IDS[:2]),
        ("Volume.getInfo", True, IDS),
        ("Volume.extendSize", True, IDS),
        ("Volume.create", False, IDS[:2]),
        ("Volume.getCount", False, IDS[:2]),
        ("Volume.forget", False, ()),
    ],
)
def test_place(verb: str, on_object: bool, keys: tuple[str, ...]) -> None:
    """A verb is on an object if it requires all ids, wherever they stand; on a collection, the parents'."""
    assert (STORAGE[verb].on_object, STORAGE[verb].keys) == (on_object, keys)


def test_locks_have_all_ids() -> None:
    """The default lock has the ids from the outside in, in lower case; also that of what is being made."""
    ids = {"volume_id": "V", "storagedomain_id": "D", "image_id": "I"}
    for verb, more in (
        ("Volume.extendSize", {"storagepool_id": "P", "new_size": 1}),
        ("Volume.create", {"size": 1}),
    ):
        (lock,) = STORAGE[verb].locks({**more, **ids})
        assert (lock.of, lock.exclusive) == (Reference.stored("volume", "d", "i", "v"), True)
    assert STORAGE["Volume.forget"].locks(ids) == ()
    assert STORAGE["Volume.getInfo"].locks(ids) == ()


def test_plurals() -> None:
    """By default the name in lower case, with dashes."""
    assert (Domain.plural, Image.plural) == ("storage-domains", "images")
    assert [kebab(name) for name in ("VM", "ISCSIConnection", "NBD", "LVMVolumeGroup")] == [
        "vm", "iscsi-connection", "nbd", "lvm-volume-group",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"parent": Domain, "key": ""}, "a namespace with a parent needs a key, and so does the parent"),
        ({"parent": "StorageDomain", "key": ""}, "needs a key"),
        ({"parent": type("Host", (Namespace,), {}), "key": "thingID"}, "so does the parent"),
        ({"parent": Image, "key": "storagedomainID"}, "a parent has the key 'storagedomainID', too"),
        ({"key": "thingID", "plural": "a/b"}, "the plural 'a/b' is no segment of a path"),
        ({"group_of": Domain, "plural": "domains"}, "a group has no keyword beside group_of"),
    ],
)
def test_what_cannot_work_is_refused(keywords: dict[str, Any], message: str) -> None:
    """The error names the class."""
    with pytest.raises(TypeError, match="Thing: ") as caught:
        type("Thing", (Namespace,), {}, **keywords)
    assert message in str(caught.value)


# -- parents of other plugins


def test_a_parent_by_its_name() -> None:
    """The registry completes what the class cannot know, in any order within one plugin."""
    registry = Registry()
    registry.add(collect(Domain(), "storage"))
    registry.add(collect(named()(), "leases"))
    verb = registry.find("Lease.count")
    assert (verb.on_object, verb.keys) == (True, ("storagedomainID", "leaseID"))
    assert [level.plural for level in verb.levels] == ["storage-domains", "leases"]
    other = Registry()
    other.add([*collect(named()()), *collect(Domain())])
    assert other.find("Lease.count").keys == verb.keys


def test_a_parent_that_is_missing() -> None:
    """It is an error that can pass: the plugin is tried again, and runs once the parent's does."""
    registry = Registry()
    with pytest.raises(MissingParent) as caught:
        registry.add(collect(named()(), "leases"))
    assert isinstance(caught.value, Unavailable)
    assert str(caught.value) == (
        "Cannot offer the namespace Lease: no running plugin offers its parent StorageDomain. "
        "Install or enable the plugin that has it"
    )
    assert dict(registry.verbs) == {}


def test_a_parent_that_goes() -> None:
    """What is in it stays where it is; when the parent returns elsewhere, it does not fit."""
    registry = Registry()
    registry.add(collect(Domain(), "storage"))
    registry.add(collect(named()(), "leases"))
    registry.remove("storage")
    assert registry.find("Lease.count").keys == ("storagedomainID", "leaseID")

    class Moved(Namespace, name="StorageDomain", key="storagedomainID", plural="domains"):
        """The parent, at another path."""

        @query(since="1.0")
        def get_info(self, storagedomain_id: str) -> str:
            """One domain."""
            return storagedomain_id

    with pytest.raises(VerbConflict, match=r"StorageDomain \(key 'storagedomainID', plural 'domains'\)"):
        registry.add(collect(Moved(), "other"))
    registry.add(collect(Domain(), "storage"))


def test_a_parent_that_is_declared_again() -> None:
    """A plugin can repeat the declaration of another's namespace, and needs nothing of that plugin then."""

    class Again(Namespace, name="StorageDomain", key="storagedomainID", plural="storage-domains"):
        """The same namespace."""

    registry = Registry()
    registry.add(collect(named(parent=Again)(), "leases"))
    registry.add(collect(Domain(), "storage"))
    assert list(registry.verbs) == ["Lease.count", "StorageDomain.getInfo"]


def test_two_places_of_one_namespace() -> None:
    """Plugins must agree on the parent, too."""
    registry = Registry()
    registry.add(collect(Domain(), "storage"))
    registry.add(collect(named()(), "leases"))
    top = type("Lease", (Namespace,), {"all": query(since="1.0")(_all)}, key="leaseID")
    with pytest.raises(
        VerbConflict, match=r"the namespace Lease .* is offered by the plugins 'leases' and 'top'"
    ):
        registry.add(collect(top(), "top"))


def _all(self: Any) -> int:
    """A verb."""
    return id(self)


# -- several classes


class Snapshots(Namespace, group_of=Volume):
    """Further verbs of `Volume`."""

    @action(since="1.0")
    def snap(self, storagedomain_id: str, image_id: str, volume_id: str) -> None:
        """Make a copy."""


def test_a_group_is_its_namespace() -> None:
    """Its verbs are those of the namespace in every respect."""
    (verb,) = collect(Snapshots(), "storage")
    assert (verb.name, verb.namespace, verb.group) == ("Volume.snap", Volume, Snapshots)
    assert (verb.on_object, verb.keys, verb.levels) == (True, IDS, Volume.levels)
    (lock,) = verb.locks({"storagedomain_id": "d", "image_id": "i", "volume_id": "v"})
    assert lock.of == Volume.reference("d", "i", "v")


def test_a_verb_in_two_groups() -> None:
    """The error names both classes and the plugin."""

    class More(Namespace, group_of=Snapshots):
        """A group of the same namespace: of the whole, not of a part of it."""

        @action(since="1.0")
        def snap(self) -> None:
            """The same name."""

    assert More.whole is Volume
    with pytest.raises(VerbConflict) as caught:
        Registry().add([*collect(Snapshots(), "storage"), *collect(More(), "storage")])
    here = __name__
    assert str(caught.value) == (
        f"Volume.snap is offered by the classes {here}.Snapshots and "
        f"{here}.test_a_verb_in_two_groups.<locals>.More of the plugin 'storage'"
    )


def test_the_revision_is_the_same_in_each_process() -> None:
    """Neither addresses of functions nor the order of sets are part of it."""
    program = (
        "from vdsm_bridge.api.collect import collect\n"
        "from vdsm_bridge.api.registry import Registry\n"
        "from vdsm_bridge.testing.sample import LampNamespace\n"
        "registry = Registry()\n"
        "registry.add(collect(LampNamespace(None), 'sample'))\n"
        "print(registry.revision)\n"
    )
    revisions = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(revisions) == 1
