"""Filters of listening sockets: which requests for a connection the kernel drops.

The first packet (SYN) of a connection is dropped without a reply, so its client tries again after a second
(RFC 6298, section 2): a connection is delayed, and costs this process nothing. Only this packet is dropped.
A filter that drops the others, too, loses connections: those whose handshake is not over are reset, and those
that are made just then inherit it from the listening socket.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import itertools
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SO_ATTACH_FILTER: Final = 26  # asm-generic/socket.h
_SO_DETACH_FILTER: Final = 27
#: Offset from which a filter reads the header of IP instead of that of TCP (linux/filter.h, SKF_NET_OFF).
_NETWORK: Final = 0xFFF00000
# Codes of instructions (linux/bpf_common.h).
_LOAD_BYTE: Final = 0x30  # BPF_LD | BPF_B | BPF_ABS
_LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_SET: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_KEEP: Final = 0xFFFFFFFF
_FLAGS: Final = 13  # offset of the flags in the header of TCP (RFC 9293, section 3.1)
_SYN: Final = 0x02
_SOURCE: Final = {4: 12, 6: 8}  # offset of the source address in the header of IP (RFC 791, RFC 8200)
#: Networks in one filter: its size is bounded by net.core.optmem_max, its time by this.
MOST: Final = 64
#: State of a handshake that is not over in /proc/net/tcp (net/tcp_states.h, TCP_SYN_RECV).
_SYN_RECEIVED: Final = "03"

_Instruction = tuple[int, int, int, int]


def drop_all(listening: socket.socket) -> None:
    """Let no further connection begin; those that have begun can still be accepted."""
    _attach(listening, [*_only_syn(), (_RETURN, 0, 0, 0)])


def drop_from(listening: socket.socket, networks: Iterable[Network]) -> None:
    """Let no further connection of these networks begin; of more than `MOST` networks, take the first."""
    tests = [test for network in itertools.islice(networks, MOST) for test in _test(network)]
    if tests:
        _attach(listening, [*_only_syn(), *tests, (_RETURN, 0, 0, _KEEP)])
    else:
        with contextlib.suppress(OSError):  # there is none
            listening.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def half_open(listening: socket.socket) -> bool:
    """Return whether a handshake of TCP has begun on the port of a socket and is not over."""
    port = f":{listening.getsockname()[1]:04X}"
    table = Path("/proc/self/net", "tcp6" if listening.family == socket.AF_INET6 else "tcp")
    try:
        lines = table.read_text("ascii").splitlines()
    except OSError:
        return False
    # Columns: number, local address, remote address, state (proc(5)).
    entries = (line.split(maxsplit=4) for line in lines)
    return any(entry[1].endswith(port) and entry[3] == _SYN_RECEIVED for entry in entries)


def _only_syn() -> list[_Instruction]:
    """Return the beginning of a filter: keep each packet that does not begin a connection."""
    return [(_LOAD_BYTE, 0, 0, _FLAGS), (_JUMP_SET, 1, 0, _SYN), (_RETURN, 0, 0, _KEEP)]


def _test(network: Network) -> list[_Instruction]:
    """Return the instructions that drop a packet whose source is in a network, and else go on behind them."""
    comparisons = [((_LOAD_BYTE, 0, 0, _NETWORK), 0xF0, network.version << 4)]
    whole, mask = int(network.network_address), int(network.netmask)
    for number in range(network.max_prefixlen // 32):
        shift = network.max_prefixlen - 32 * (number + 1)
        if bits := mask >> shift & 0xFFFFFFFF:
            load = (_LOAD_WORD, 0, 0, _NETWORK + _SOURCE[network.version] + 4 * number)
            comparisons.append((load, bits, whole >> shift & 0xFFFFFFFF))
    test: list[_Instruction] = []
    for number, (load, bits, wanted) in enumerate(comparisons):
        # Behind this test: the comparisons after this one with three instructions each, and the return.
        skip = 3 * (len(comparisons) - number - 1) + 1
        test += [load, (_AND, 0, 0, bits), (_JUMP_EQUAL, 0, skip, wanted)]
    return [*test, (_RETURN, 0, 0, 0)]


def _attach(listening: socket.socket, program: list[_Instruction]) -> None:
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: the number of instructions, and where they are.
    described = struct.pack("HP", len(program), ctypes.addressof(buffer))
    with contextlib.suppress(OSError):  # a kernel without filters of sockets
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
