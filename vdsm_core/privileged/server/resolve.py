"""Resolving paths beneath a root without following a link, whatever is moved meanwhile.

The kernel does it in one system call, openat2(2), since Linux 5.6. Where that is refused, each component is
opened by itself, without following links: the folder that is held stays the one that was checked.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from vdsm_core.errors import InvalidArgument
from vdsm_core.privileged.arguments import Located, Opened, Root
from vdsm_core.privileged.operation import Operation

#: The number is the same on every architecture but Alpha.
_SYS_OPENAT2: Final = 437
#: linux/openat2.h
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08
#: What openat2 returns where it cannot be used: not there, or refused by a filter of system calls.
_NO_OPENAT2: Final = frozenset({errno.ENOSYS, errno.EPERM})
#: A link, or a step out of the root.
_OUTSIDE: Final = frozenset({errno.ELOOP, errno.EXDEV})
#: It gives up after so many renames beside it; the caller repeats.
_ATTEMPTS: Final = 100

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    """`struct open_how` of linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@contextmanager
def resolved(
    operation: Operation[..., Any], values: Mapping[str, Any], roots: Mapping[Root, str]
) -> Iterator[None]:
    """Bind each path argument of a call to its descriptor, and close them after it.

    :param roots: other places of roots, for tests
    :raises InvalidArgument: a path leads through a link or out of its root, or is not there
    """
    held: list[Located] = []
    try:
        for name, parameter in operation.paths.items():
            located: Located = values[name]
            root = roots.get(parameter.within.root, parameter.within.root.path)
            try:
                located.bind(_descriptor(root, located, parameter.within.flags))
            except OSError as error:
                raise InvalidArgument(argument=name, reason=_reason(error)) from None
            held.append(located)
        yield
    finally:
        for each in held:
            each.close()


def _descriptor(root: str, located: Located, flags: int) -> int:
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if isinstance(located, Opened):
            return _opened(open_beneath(top, located.path, os.O_PATH), flags)
        folder, _, _ = located.path.rpartition("/")
        return open_beneath(top, folder or ".", os.O_PATH | os.O_DIRECTORY)
    finally:
        os.close(top)


def _opened(found: int, flags: int) -> int:
    """Open what a descriptor of O_PATH names, if it is a file or a folder: opening a device has effects."""
    if flags & os.O_PATH:
        return found
    try:
        mode = os.fstat(found).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise OSError(errno.EINVAL, "it is neither a file nor a folder")
        return os.open(f"/proc/self/fd/{found}", flags | os.O_CLOEXEC | os.O_NOCTTY)
    finally:
        os.close(found)


def open_beneath(top: int, path: str, flags: int) -> int:
    """Open a path beneath a folder; no component of it may be a link.

    :raises OSError: it cannot be opened so
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return by_kernel(top, path, flags)
    except OSError as error:
        if error.errno not in _NO_OPENAT2:
            raise
    return by_steps(top, path, flags)


def by_kernel(top: int, path: str, flags: int) -> int:
    """Open by openat2(2)."""
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
    how = _OpenHow(flags, 0, resolve)
    for _ in range(_ATTEMPTS):
        found: int = _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(top),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if found >= 0:
            return _no_link(found)
        code = ctypes.get_errno()
        if code != errno.EAGAIN:
            raise OSError(code, os.strerror(code))
    raise OSError(errno.EAGAIN, "folders above it are renamed all the time")


def by_steps(top: int, path: str, flags: int) -> int:
    """Open component by component."""
    *folders, last = path.split("/")
    if ".." in (*folders, last):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    held = os.dup(top)
    try:
        for folder in folders:
            below = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=held)
            os.close(held)
            held = below
        return _no_link(os.open(last, flags, dir_fd=held))
    finally:
        os.close(held)


def _no_link(descriptor: int) -> int:
    """Refuse a link that O_PATH with O_NOFOLLOW has opened itself."""
    if stat.S_ISLNK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return descriptor


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOTDIR or error.errno in _OUTSIDE:
        return "the path leads through a link or a file, or out of its root"
    return error.strerror or str(error)
