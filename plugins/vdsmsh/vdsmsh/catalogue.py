"""The verbs of a host, as it describes them itself; remembered on disk from one start to the next.

What is remembered belongs to one URL and one revision of the API. It is read anew when an answer of the
host shows another revision, or when a command is asked for that it does not hold.
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

#: Changes when the layout of the file does.
_FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a verb. `schema` is its JSON Schema."""

    name: str
    schema: Mapping[str, Any]
    required: bool
    doc: str = ""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One verb. `result` is the JSON Schema of what it returns; `key` names the object that it acts on."""

    name: str
    kind: str
    summary: str
    plugin: str = ""
    description: str = ""
    key: str = ""
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
        """Which verb lists the objects that a parameter may name: wire name of the key -> full name."""
        return {
            verb.key: verb.listed_by
            for verb in self.verbs.values()
            if verb.key and verb.listed_by in self.verbs
        }

    def key_names(self) -> list[str]:
        """Every parameter that names an object, also where nothing lists the objects."""
        return sorted({verb.key for verb in self.verbs.values() if verb.key})

    def key_of(self, namespace: str) -> str:
        """The wire name of the key of a namespace; empty if it has none."""
        return next((v.key for v in self.verbs.values() if v.namespace == namespace and v.key), "")

    def key_listed_by(self, lister: str) -> str:
        """The key of the objects that a verb lists; empty if it lists none."""
        return next((v.key for v in self.verbs.values() if v.listed_by == lister and v.key), "")


def _verb(info: Mapping[str, Any]) -> Verb:
    return Verb(
        name=info["name"],
        kind=info["kind"],
        summary=info["summary"],
        plugin=info.get("plugin", ""),
        description=info.get("description", ""),
        key=info.get("key", ""),
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
    """The file that remembers the catalogue of one URL."""

    def __init__(self, url: str, folder: Path | None = None) -> None:
        name = hashlib.sha256(url.encode()).hexdigest()[:24]
        self._path = (folder or cache_folder()) / f"{name}.json"

    def load(self) -> Catalogue | None:
        """What is remembered; None if there is nothing of use."""
        try:
            content = json.loads(self._path.read_bytes())
            if content["format"] != _FORMAT:
                return None
            return Catalogue(content["revision"], content["verbs"])
        except (OSError, ValueError, KeyError, TypeError):
            # A cache that cannot be read is no cache; the host is asked instead.
            return None

    def save(self, revision: str, described: Sequence[Mapping[str, Any]]) -> None:
        """Remember a catalogue. Where nothing can be written, nothing is remembered."""
        content = json.dumps({"format": _FORMAT, "revision": revision, "verbs": described})
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".new-")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(content)
            Path(name).replace(self._path)


def cache_folder() -> Path:
    """Where catalogues are remembered: below `XDG_CACHE_HOME`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vdsmsh"
