"""Starting a helper for a daemon that root has started and no service manager gives one to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

#: Connections that may wait while the helper starts.
_BACKLOG: Final = 64
_ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
#: Where the default configuration is.
_PLACES: Final = ("CONFIGURATION_DIRECTORY", "HOME", "XDG_CONFIG_HOME")


def _command(listening: int, lifeline: int, further: list[str]) -> list[str]:
    # By name: nothing of the daemon imports the helper.
    own = ["--listen", str(listening), "--lifeline", str(lifeline)]
    return [sys.executable, "-I", "-m", "vdsm_core.privileged.server.supervisor", *own, "--", *further]


class OwnHelper:
    """A supervisor with its helper, for one daemon. Start it before root's powers are given up.

    Its socket has no name in the file system: no other process can connect to it.

    :param peer: the user id that the daemon will have
    :param place: of the configuration, as `--config` has it; None means the default files
    """

    def __init__(self, peer: int, place: Path | None) -> None:
        self._peer = peer
        self._place = place
        self._socket: int | None = None
        self._lifeline: int | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The path that this process reaches the helper by."""
        return f"/proc/self/fd/{self._socket}"

    def start(self) -> None:
        """Start the supervisor; the helper itself starts with the first operation.

        :raises OSError: it cannot be started
        """
        reading, self._lifeline = os.pipe()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with listener, tempfile.TemporaryDirectory(prefix="vdsm-helper-") as folder:
                path = Path(folder) / "socket"
                listener.bind(str(path))
                os.chown(path, self._peer, -1)
                path.chmod(0o600)
                listener.listen(_BACKLOG)
                self._socket = os.open(path, os.O_PATH | os.O_CLOEXEC)
                self._supervisor = self._spawn(listener.fileno(), reading)
        finally:
            os.close(reading)

    def _spawn(self, listening: int, lifeline: int) -> subprocess.Popen[bytes]:
        further = ["--peer", str(self._peer)]
        if self._place is not None:
            further += ["--config", str(self._place.absolute())]
        places = {name: os.environ[name] for name in _PLACES if name in os.environ}
        return subprocess.Popen(  # noqa: S603 - this interpreter, our own arguments
            _command(listening, lifeline, further),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**_ENVIRONMENT, **places},
            cwd="/",
            pass_fds=(listening, lifeline),
            start_new_session=True,
        )

    def stop(self, seconds: float) -> None:
        """End the supervisor and its helper; operations that run have some time to end.

        :param seconds: how long it is waited for
        """
        for descriptor in (self._lifeline, self._socket):
            if descriptor is not None:
                os.close(descriptor)
        self._lifeline = self._socket = None
        if self._supervisor is not None:
            # It ends by itself, later: it belongs to root, and this process may not end it.
            with suppress(subprocess.TimeoutExpired):
                self._supervisor.wait(seconds)
            self._supervisor = None
