"""`vdsm-helper`: the process that runs privileged operations for vdsmd."""

from __future__ import annotations

import argparse
import logging
import os
import pwd
import signal
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from vdsm_core import config as configuration
from vdsm_core.errors import ConfigError
from vdsm_core.privileged import capabilities
from vdsm_core.privileged.server.dispatch import Dispatcher
from vdsm_core.privileged.server.registry import Registry
from vdsm_core.privileged.server.service import Service
from vdsm_core.privileged.server.succession import Succession

log = logging.getLogger("vdsm.helper")

#: sd_listen_fds(3): the first descriptor that a service manager passes.
_FIRST_PASSED: Final = 3
#: Seconds that operations get to end when the helper is stopped.
_GRACE: Final = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM, or until the daemon has ended; SIGHUP makes room for a successor.

    :returns: the exit code: 0 ended on request, 1 could not start (standard error says why)
    """
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)-7s vdsm-helper: %(message)s")
    capabilities.set_process_name("vdsm-helper")
    os.umask(0o077)
    os.chdir("/")
    with configuration.system_folders() if options.system else nullcontext():
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    listening = _listening(options.listen)
    if listening is None:
        log.error(
            "Cannot start: no socket was passed. vdsm-helper.socket, or vdsmd as root, starts this program"
        )
        return 1
    try:
        registry = Registry.installed(options.config)
        peers = _peers(options.peer, configuration.load(options.config).daemon.user)
    except ConfigError as error:
        log.error("Cannot start: %s", error)  # noqa: TRY400 - the message says it all
        return 1
    held = capabilities.limit(registry.capabilities)
    log.info(
        "Ready with %d operations; capabilities: %s",
        len(registry.operations),
        ", ".join(capabilities.names_of(held)) or "none",
    )
    if options.lifeline is not None:
        further = [*(["--peer", str(options.peer)] if options.peer is not None else [])]
        further += ["--config", str(options.config)] if options.config is not None else []
        Succession(listening, options.lifeline, further).start()
    with socket.socket(fileno=listening) as listener:
        _serve(Service(listener, Dispatcher(registry, held), peers), options.lifeline)
    logging.shutdown()
    # An operation that hangs must not keep the process alive.
    os._exit(0)


def parser() -> argparse.ArgumentParser:
    """What `vdsm-helper` may be started with."""
    words = argparse.ArgumentParser(
        prog="vdsm-helper",
        description="The privileged helper of vdsmd, which a service manager starts, or root's vdsmd.",
    )
    words.add_argument("--system", action="store_true", help="read the configuration of the system's service")
    words.add_argument("--config", type=Path, metavar="PLACE", help="read this file or folder instead")
    words.add_argument("--listen", type=int, metavar="FD", help="the descriptor of the listening socket")
    words.add_argument("--peer", type=int, metavar="UID", help="the user id of the daemon")
    words.add_argument("--lifeline", type=int, metavar="FD", help="end when this descriptor is at its end")
    return words


def _listening(given: int | None) -> int | None:
    """The descriptor of the listening socket: the one given, else the service manager's."""
    if given is not None:
        return given
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
        return _FIRST_PASSED
    return None


def _peers(given: int | None, account: str) -> list[int]:
    """Return the user ids that are served: none while the account of the daemon does not exist."""
    if given is not None:
        return [given]
    try:
        return [pwd.getpwnam(account).pw_uid]
    except KeyError:
        log.error("No user is served: there is no account '%s'. Create it, or change [daemon] user", account)  # noqa: TRY400
        return []


def _serve(service: Service, lifeline: int | None) -> None:
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True
        service.finish()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, lambda *_: service.finish())
    service.serve(lifeline=lifeline, stopped=lambda: stopped)
    if not service.drain(_GRACE):
        log.warning("Operations that run are left behind: the helper was stopped")
    service.close()
