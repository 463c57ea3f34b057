"""A successor for a supervisor that was killed: the helper starts it, as the daemon cannot."""

from __future__ import annotations

import logging
import os
import select
import subprocess
import threading

from vdsm_core.privileged.server.supervisor import command

log = logging.getLogger("vdsm.helper")


class Succession:
    """Starts another supervisor when the present one has ended and the daemon has not.

    :param listen: the descriptor of the listening socket
    :param lifeline: a descriptor that is at its end when the daemon is
    :param further: arguments of the helper
    """

    def __init__(self, listen: int, lifeline: int, further: list[str]) -> None:
        self._listen = listen
        self._lifeline = lifeline
        self._further = further

    def start(self) -> None:
        """Watch on a thread of its own, which ends with the process."""
        threading.Thread(target=self._watch, name="succession", daemon=True).start()

    def _watch(self) -> None:
        supervisor, successor = os.getppid(), None
        while self._ends_before_the_daemon(supervisor):
            if successor is not None:
                successor.wait()
            try:
                successor = self._start_another()
            except OSError as error:
                log.warning("The supervisor has ended, and no other can be started: %s", error)
                return
            supervisor = successor.pid
            log.warning("The supervisor has ended; process %d takes its place", supervisor)

    def _start_another(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - this interpreter, our own arguments
            command(self._listen, self._lifeline, self._further, os.getpid()),
            stdin=subprocess.DEVNULL,
            pass_fds=(self._listen, self._lifeline),
            start_new_session=True,
        )

    def _ends_before_the_daemon(self, supervisor: int) -> bool:
        try:
            ended = os.pidfd_open(supervisor)
        except ProcessLookupError:
            ended = None
        poll = select.poll()
        poll.register(self._lifeline, select.POLLIN)
        if ended is None:
            return not poll.poll(0)
        poll.register(ended, select.POLLIN)
        try:
            return self._lifeline not in {descriptor for descriptor, _ in poll.poll()}
        finally:
            os.close(ended)
