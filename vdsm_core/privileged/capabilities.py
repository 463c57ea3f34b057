"""Linux capabilities of this process and of single threads (capabilities(7)).

The C library wraps `capset` for the calling thread only. That is what is wanted here twice: a process that
has one thread gives up its powers as a whole, and a thread of the helper raises those of the operation that
it runs.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

#: linux/capability.h, in the order of their numbers.
NAMES: Final = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL"),
    *("CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE"),
    *("CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE"),
    *("CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT"),
    *("CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE"),
    *("CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN"),
    *("CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF"),
    "CAP_CHECKPOINT_RESTORE",
)
_NUMBERS: Final = {name: number for number, name in enumerate(NAMES)}
_SETPCAP: Final = 1 << _NUMBERS["CAP_SETPCAP"]

#: _LINUX_CAPABILITY_VERSION_3: two words of 32 bits for each set.
_VERSION: Final = 0x20080522
#: linux/prctl.h
_PR_SET_NAME: Final = 15
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

_libc = ctypes.CDLL(None, use_errno=True)
_Header = ctypes.c_uint32 * 2
_Words = ctypes.c_uint32 * 6


class Sets(NamedTuple):
    """The capability sets of a thread, each a mask by number."""

    effective: int
    permitted: int
    inheritable: int


def mask_of(names: Iterable[str]) -> int:
    """The mask of capabilities by name.

    :raises TypeError: there is no capability of such a name
    """
    mask = 0
    for name in names:
        if name not in _NUMBERS:
            raise TypeError(f"there is no capability '{name}'")
        mask |= 1 << _NUMBERS[name]
    return mask


def names_of(mask: int) -> list[str]:
    """The names of the capabilities in a mask."""
    return [NAMES[n] if n < len(NAMES) else f"CAP_{n}" for n in range(mask.bit_length()) if mask >> n & 1]


def current() -> Sets:
    """The sets of this thread."""
    words = _Words()
    _check(_libc.capget(_Header(_VERSION, 0), words))
    return Sets(*(words[index] | words[index + 3] << 32 for index in range(3)))


def change(sets: Sets) -> None:
    """Give this thread other sets.

    :raises PermissionError: it may not have them
    """
    low = [mask & 0xFFFFFFFF for mask in sets]
    high = [mask >> 32 for mask in sets]
    _check(_libc.capset(_Header(_VERSION, 0), _Words(*low, *high)))


def bounding() -> int:
    """What this thread, and what it executes, can have at the most."""
    mask = 0
    for number in range(64):
        try:
            mask |= _prctl(_PR_CAPBSET_READ, number) << number
        except OSError:
            # The kernel has no such capability, and no further one.
            break
    return mask


def limit_bounding(mask: int) -> None:
    """Let nothing that this thread executes have a capability outside of a mask; what it holds itself stays.

    Without CAP_SETPCAP, do nothing: then the service manager has done it.
    """
    held = current()
    if not held.permitted & _SETPCAP:
        return
    change(held._replace(effective=held.effective | _SETPCAP))
    for number in range(bounding().bit_length()):
        if not mask >> number & 1:
            _prctl(_PR_CAPBSET_DROP, number)
    change(held)


def limit(mask: int) -> int:
    """Give up every capability outside of a mask, for good, and raise none of those that are left.

    For a process of one thread. Nothing that it executes can have more, whatever the file's owner and mode.

    :returns: the capabilities that are left
    """
    limit_bounding(mask)
    left = current().permitted & mask
    no_new_privileges()
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    change(Sets(0, left, 0))
    return left


def no_new_privileges() -> None:
    """Let nothing that this process executes have more privileges than it has. This cannot be undone."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


@contextmanager
def raised(mask: int) -> Iterator[None]:
    """Raise permitted capabilities on this thread for a while.

    :raises PermissionError: one of them is not permitted
    """
    if not mask:
        yield
        return
    held = current()
    change(held._replace(effective=mask))
    try:
        yield
    finally:
        change(held)


def keep_only_effective() -> None:
    """Give up what this thread could raise again; what it executes has no more than is effective now."""
    held = current()
    change(Sets(held.effective, held.effective, 0))


def set_process_name(name: str) -> None:
    """Set the name that `ps` and `top` show, of 15 characters at the most."""
    _check(_libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode("ascii")), 0, 0, 0))


def _prctl(what: int, argument: int) -> int:
    unused = ctypes.c_ulong(0)
    return _check(_libc.prctl(what, ctypes.c_ulong(argument), unused, unused, unused))


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
