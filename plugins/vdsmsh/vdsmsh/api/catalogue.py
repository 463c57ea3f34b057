"""The verbs of a host, as it describes them; cached on disk from one start to the next.

A cached catalogue belongs to one URL and one revision of the API. It is replaced when an answer of the host
has another revision, or when a line names a command that it lacks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

#: Version of the layout of the file.
_FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a verb.

    :ivar schema: its JSON Schema
    """

    name: str
    schema: Mapping[str, Any]
    required: bool
    doc: str = ""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One verb.

    :ivar part: its role in its namespace, such as "create" or "list"; empty if it has none
    :ivar listed_by: full name of the verb that lists the objects of its namespace; empty if none does
    :ivar key: the parameter that holds the id of the object that it is called on; empty if there is none
    :ivar keys: that parameter after those of its parents; of a verb on a collection those of the parents only
    :ivar result: JSON Schema of what it returns
    """

    name: str
    kind: str
    summary: str
    plugin: str = ""
    description: str = ""
    key: str = ""
    keys: Sequence[str] = ()
    part: str = ""
    listed_by: str = ""
    parameters: Sequence[Parameter] = ()
    result: Mapping[str, Any] = field(default_factory=dict)
    result_doc: str = ""

    @property
    def namespace(self) -> str:
        """`VM` of `VM.pause`."""
        return self.name.partition(".")[0]

    @property
    def method(self) -> str:
        """`pause` of `VM.pause`."""
        return self.name.partition(".")[2]


class Catalogue:
    """All verbs of one revision of an API, by full name."""

    def __init__(self, revision: str, described: Sequence[Mapping[str, Any]]) -> None:
        self.revision = revision
        self.verbs: dict[str, Verb] = {info["name"]: _verb(info) for info in described}

    def keys(self) -> dict[str, str]:
        """Return which verb lists the objects of a key: wire name of the key -> full name of the verb."""
        return {
            verb.key: verb.listed_by
            for verb in self.verbs.values()
            if verb.key and verb.listed_by in self.verbs
        }

    def key_names(self) -> list[str]:
        """Return every parameter that is a key, also where no verb lists the objects."""
        return sorted({verb.key for verb in self.verbs.values() if verb.key})

    def key_of(self, namespace: str) -> str:
        """Return the wire name of the key of a namespace; empty if it has none."""
        return next((v.key for v in self.verbs.values() if v.namespace == namespace and v.key), "")

    def key_listed_by(self, lister: str) -> str:
        """Return the key of the objects that a verb lists; empty if it lists none."""
        return next((v.key for v in self.verbs.values() if v.listed_by == lister and v.key), "")


def _verb(info: Mapping[str, Any]) -> Verb:
    return Verb(
        name=info["name"],
        kind=info["kind"],
        summary=info["summary"],
        plugin=info.get("plugin", ""),
        description=info.get("description", ""),
        key=info.get("key", ""),
        # A host of an earlier release has objects with one id only.
        keys=tuple(info.get("keys") or filter(None, [info.get("key", "")])),
        part=info.get("part", ""),
        listed_by=info.get("listedBy", ""),
        parameters=tuple(
            Parameter(name=p["name"], schema=p["type"], required=p["required"], doc=p.get("doc", ""))
            for p in info["params"]
        ),
        result=info.get("result", {}),
        result_doc=info.get("resultDoc", ""),
    )


class CatalogueCache:
    """The file with the catalogue of one URL."""

    def __init__(self, url: str, folder: Path | None = None) -> None:
        name = hashlib.sha256(url.encode()).hexdigest()[:24]
        self._path = (folder or cache_folder()) / f"{name}.json"

    def load(self) -> Catalogue | None:
        """Return the cached catalogue; None if there is none, or none that can be read."""
        try:
            content = json.loads(self._path.read_bytes())
            if content["format"] != _FORMAT:
                return None
            return Catalogue(content["revision"], content["verbs"])
        except (OSError, ValueError, KeyError, TypeError):
            # The caller reads the verbs from the host instead, and replaces the file.
            return None

    def save(self, revision: str, described: Sequence[Mapping[str, Any]]) -> None:
        """Write a catalogue. Without permission to write, do nothing: the cache only saves time."""
        content = json.dumps({"format": _FORMAT, "revision": revision, "verbs": described})
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".new-")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(content)
            Path(name).replace(self._path)


def cache_folder() -> Path:
    """Return the folder of cached catalogues, below `XDG_CACHE_HOME`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vdsmsh"
