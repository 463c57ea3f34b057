"""Types of the arguments of privileged operations: names, and paths beneath declared roots.

A path travels as text relative to a root. The helper resolves it without following links and hands it to the
operation as descriptors, so that nothing is resolved a second time:

- `Entry`: the descriptor of the folder and the last name, for what is made, renamed, removed or changed;
- `Opened`: the descriptor of an existing file or folder.
"""

from __future__ import annotations

import os
from typing import Annotated, Final

import msgspec
from msgspec import Meta

#: Bytes of a path that the kernel takes, and characters of one name.
MAX_PATH: Final = 4_095
MAX_NAME: Final = 255

#: One name of a file, group, device or the like: no separator, no leading dash or dot, no control character.
NAME_PATTERN: Final = r"\A[A-Za-z0-9_][A-Za-z0-9_.:@+-]*\Z"
Name = Annotated[str, Meta(pattern=NAME_PATTERN, min_length=1, max_length=MAX_NAME)]
_COMPONENT: Final = r"(?!-)(?!\.{1,2}(?:/|\Z))[^/\x00-\x1f\x7f]+"
PATH_PATTERN: Final = rf"\A{_COMPONENT}(?:/{_COMPONENT})*\Z"
#: A path as it travels: relative, in its shortest form, no component that begins with a dash.
RelativePath = Annotated[str, Meta(pattern=PATH_PATTERN, min_length=1, max_length=MAX_PATH)]


class Root:
    """A folder beneath which an operation may reach. The path is the plugin's own and is trusted.

    :param path: absolute
    """

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        if not path.startswith("/") or path.startswith("//") or os.path.normpath(path) != path:
            raise ValueError(f"a root is an absolute path in its shortest form, and not '{path}'")
        self.path = path

    def __repr__(self) -> str:
        return f"Root({self.path!r})"


class Within(msgspec.Struct, frozen=True):
    """Annotation of a path argument: the root it lies beneath.

    `flags` are those that an `Opened` is opened with, as `os.O_RDONLY`; without them the descriptor only
    names the object (`os.O_PATH`).
    """

    root: Root
    flags: int = os.O_PATH


class Located:
    """A path beneath a root. In the helper it is bound to the descriptor it was resolved to.

    :param path: relative to the root
    """

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None

    def bind(self, descriptor: int) -> None:
        """Hold the descriptor that the path was resolved to, until `close`."""
        self._descriptor = descriptor

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def descriptor(self) -> int:
        """The descriptor that the path was resolved to.

        :raises RuntimeError: outside of the operation
        """
        if self._descriptor is None:
            raise RuntimeError(f"'{self.path}' is resolved in the helper only, while its operation runs")
        return self._descriptor

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"


class Entry(Located):
    """A name in a folder beneath a root. The name need not exist. Use it with `dir_fd` and without links::

    os.unlink(entry.name, dir_fd=entry.folder)
    """

    __slots__ = ()

    @property
    def folder(self) -> int:
        """The descriptor of the folder, for `dir_fd`."""
        return self.descriptor

    @property
    def name(self) -> str:
        """The name in the folder, one component. Do not follow a link of this name."""
        return self.path.rpartition("/")[2]


class Opened(Located):
    """An existing file or folder beneath a root, opened."""

    __slots__ = ()

    @property
    def proc_path(self) -> str:
        """A path of the open object, for a command that inherits the descriptor (`pass_fds`)."""
        return f"/proc/self/fd/{self.descriptor}"
