"""A file system of one file, whose reads hang on demand: the kernel's FUSE protocol, without a library.

Started by `host.py` in the lab's mount namespace, with the mount point, the file whose contents it has, and
a path: reads and writes are not answered while that exists. A process that waits for an answer cannot be
killed, as on a network file system whose server is away. At the end of the input it unmounts itself. Only the
standard library.

Protocol: https://www.kernel.org/doc/html/latest/filesystems/fuse.html and `linux/fuse.h`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import struct
import sys
from pathlib import Path

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC = (
    1,
    2,
    3,
    4,
    14,
    15,
    16,
    17,
    18,
    20,
)
FLUSH, INIT, INTERRUPT, DESTROY, BATCH_FORGET = 25, 26, 36, 38, 42
NO_ANSWER = (FORGET, INTERRUPT, BATCH_FORGET)
ROOT, FILE = 1, 2
NAME = b"disk.raw"
HEADER = struct.Struct("<IIQQIIII")
#: Seconds between two looks at the path that makes it hang.
LOOK = 0.05
MNT_DETACH = 2


def attributes(node: int, size: int) -> bytes:
    """The attributes of the folder or the file, as the protocol has them."""
    mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o666
    return struct.pack("<QQQQQQ10I", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(backing: int, opcode: int, node: int, body: bytes) -> bytes | int:
    """The answer to one request: its body, or a number of an error."""
    size = os.fstat(backing).st_size
    if opcode == INIT:
        # Version 7.31; flags: none; a write of 128 KiB at the most.
        return struct.pack("<IIIIHHIIHHI7I", 7, 31, 0x20000, 0, 16, 12, 0x20000, 1, 0, 0, *[0] * 8)
    if opcode == LOOKUP:
        if body.rstrip(b"\0") != NAME:
            return errno.ENOENT
        return struct.pack("<QQQQII", FILE, 0, 1, 1, 0, 0) + attributes(FILE, size)
    if opcode in (GETATTR, SETATTR):
        return struct.pack("<QII", 1, 0, 0) + attributes(node, size)
    if opcode == OPEN:
        # Direct: every read of QEMU's is one of ours.
        return struct.pack("<QII", 0, 1, 0)
    if opcode == READ:
        _, offset, length = struct.unpack_from("<QQI", body)
        return os.pread(backing, length, offset)
    if opcode == WRITE:
        _, offset, length = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(backing, body[40 : 40 + length], offset), 0)
    if opcode == STATFS:
        return struct.pack("<5Q10I", 1 << 20, 1 << 20, 1 << 20, 9, 9, 4096, 255, 4096, *[0] * 7)
    return b"" if opcode in (RELEASE, FLUSH, FSYNC, DESTROY) else errno.ENOSYS


def serve(device: int, backing: int, hold: Path) -> None:
    """Answer requests until the input ends; those that hang are kept."""
    held: list[tuple[int, int, int, bytes]] = []
    while True:
        ready, _, _ = select.select([device, sys.stdin], [], [], LOOK)
        if sys.stdin in ready and not sys.stdin.read(1):
            return
        requests = [] if hold.exists() else held
        held = [] if requests is held else held
        if device in ready:
            data = os.read(device, 1 << 20)
            length, opcode, unique, node, *_ = HEADER.unpack_from(data)
            request = (opcode, unique, node, data[HEADER.size : length])
            if opcode in (READ, WRITE, FSYNC) and hold.exists():
                held.append(request)
            else:
                requests = [*requests, request]
        for opcode, unique, node, body in requests:
            if opcode in NO_ANSWER:
                continue
            reply = answer(backing, opcode, node, body)
            error, content = (-reply, b"") if isinstance(reply, int) else (0, reply)
            try:
                os.write(device, struct.pack("<IiQ", 16 + len(content), error, unique) + content)
            except FileNotFoundError:
                continue  # the request was interrupted


def main(folder: str, contents: str, hold: str) -> None:
    """Mount, answer, and unmount."""
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    if libc.mount(b"hanging", folder.encode(), b"fuse", 0, options.encode()):
        raise OSError(ctypes.get_errno(), f"cannot mount {folder}")
    backing = os.open(contents, os.O_RDWR)
    sys.stdout.write("mounted\n")
    sys.stdout.flush()
    try:
        serve(device, backing, Path(hold))
    finally:
        libc.umount2(folder.encode(), MNT_DETACH)


if __name__ == "__main__":
    main(*sys.argv[1:])
