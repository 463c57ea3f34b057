"""A viewer of VNC as far as its handshake (RFC 6143, section 7.1): `vnc.py HOST PORT [PASSWORD]`.

Prints the security types that the server offers and, with a password, whether it lets the viewer in.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
from typing import Final

_VNC_AUTHENTICATION: Final = 2
_PROVIDERS: Final = ("-provider", "default", "-provider", "legacy")


def main(host: str, port: str, password: str = "") -> None:
    """Carry out the handshake, and print its outcome as JSON."""
    with socket.create_connection((host, int(port)), 10) as connection:
        stream = connection.makefile("rb")
        stream.read(12)
        connection.sendall(b"RFB 003.008\n")
        offered = list(stream.read(stream.read(1)[0]))
        outcome: dict[str, object] = {"offered": offered}
        if password and _VNC_AUTHENTICATION in offered:
            connection.sendall(bytes([_VNC_AUTHENTICATION]))
            connection.sendall(encrypted(password, stream.read(16)))
            outcome["admitted"] = struct.unpack(">I", stream.read(4)) == (0,)
    sys.stdout.write(json.dumps(outcome))


def encrypted(password: str, challenge: bytes) -> bytes:
    """Return the challenge encrypted with DES; each byte of VNC's key has its bits in reverse order."""
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode()[:8].ljust(8, b"\0"))
    command = ["openssl", "enc", "-des-ecb", "-nopad", "-K", key.hex(), *_PROVIDERS]
    return subprocess.run(command, input=challenge, capture_output=True, check=True).stdout


if __name__ == "__main__":
    main(*sys.argv[1:])
