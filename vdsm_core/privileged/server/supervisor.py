"""The parent of a helper that no service manager starts.

A daemon that root has started drops its privileges, and could not start the helper again. This process stays
root, holds only the listening socket of the helper, reads no data, and starts the helper when a client has
connected and no helper runs. It ends after the daemon. If it is killed, the helper starts another one.
"""

from __future__ import annotations

import argparse
import logging
import os
import select
import signal
import subprocess
import sys
import time
from typing import Final

from vdsm_core.privileged.capabilities import no_new_privileges, set_process_name

log = logging.getLogger("vdsm.helper")

#: Seconds before a helper that failed at its start is started again: the first time, and at the most.
_PAUSE, _MAX_PAUSE = 0.1, 5.0
#: A helper that lived for so many seconds had started well.
_WELL: Final = 2.0
#: Seconds that a helper gets to end with the daemon.
_GRACE: Final = 8.0


def main(arguments: list[str] | None = None) -> int:
    """Supervise until the lifeline is at its end; the exit code."""
    words = argparse.ArgumentParser(prog="vdsm-helper-supervisor", description=__doc__)
    words.add_argument("--listen", type=int, required=True)
    words.add_argument("--lifeline", type=int, required=True)
    words.add_argument("--helper", type=int, help="the process of a helper that runs already")
    words.add_argument("further", nargs="*", help="arguments of the helper")
    options = words.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)-7s vdsm-helper: %(message)s")
    set_process_name("vdsm-helper-sup")
    no_new_privileges()
    os.chdir("/")
    # Ctrl-C is for the daemon, whose end ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Supervisor(options.listen, options.lifeline, options.further).run(options.helper)
    return 0


def command(listen: int, lifeline: int, further: list[str], helper: int | None = None) -> list[str]:
    """The words that start a supervisor.

    :param helper: the process of a helper that runs already
    """
    words = ["--listen", str(listen), "--lifeline", str(lifeline)]
    words += ["--helper", str(helper)] if helper is not None else []
    return [sys.executable, "-I", "-m", __spec__.name, *words, "--", *further]


class Supervisor:
    """Starts the helper on demand.

    :param listen: the descriptor of the listening socket
    :param lifeline: a descriptor that is at its end when the daemon is
    :param further: arguments of the helper
    """

    def __init__(self, listen: int, lifeline: int, further: list[str]) -> None:
        self._listen = listen
        self._lifeline = lifeline
        self._further = further

    def run(self, helper: int | None = None) -> None:
        """Supervise until the daemon has ended.

        :param helper: the process of a helper that an earlier supervisor has started
        """
        if helper is not None and self._over(helper):
            return
        pause = _PAUSE
        while self._lifeline not in _readable(None, self._listen, self._lifeline):
            start = time.monotonic()
            started = self._start()
            if self._over(started.pid):
                _stop(started)
                return
            code = started.wait()
            if code:
                log.warning("The helper ended with code %d; it is started again for the next operation", code)
            pause = _PAUSE if time.monotonic() - start > _WELL or not code else min(_MAX_PAUSE, pause * 2)
            if code and _readable(pause, self._lifeline):
                return

    def _over(self, helper: int) -> bool:
        """Wait for the end of a helper, or of the daemon; whether it was the daemon's."""
        try:
            ended = os.pidfd_open(helper)
        except ProcessLookupError:
            return False
        try:
            return self._lifeline in _readable(None, ended, self._lifeline)
        finally:
            os.close(ended)

    def _start(self) -> subprocess.Popen[bytes]:
        words = ["--listen", str(self._listen), "--lifeline", str(self._lifeline), *self._further]
        return subprocess.Popen(  # noqa: S603 - this interpreter, arguments of the daemon
            [sys.executable, "-I", "-m", "vdsm_core.privileged.server", *words],
            stdin=subprocess.DEVNULL,
            pass_fds=(self._listen, self._lifeline),
        )


def _readable(seconds: float | None, *descriptors: int) -> set[int]:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(None if seconds is None else seconds * 1_000)}


def _stop(helper: subprocess.Popen[bytes]) -> None:
    try:
        helper.wait(_GRACE)
    except subprocess.TimeoutExpired:
        helper.kill()
        helper.wait()


if __name__ == "__main__":
    sys.exit(main())
