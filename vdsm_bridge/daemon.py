"""`vdsmd`: the daemon of one host."""

from __future__ import annotations

import argparse
import logging
import os
import queue
import signal
import sys
import time
from pathlib import Path

from vdsm_bridge.context import FlowFilter
from vdsm_bridge.notify import notify
from vdsm_bridge.presence import Outcome, Presence
from vdsm_bridge.server import Server
from vdsm_core import config
from vdsm_core.config import Config
from vdsm_core.errors import ConfigError

log = logging.getLogger("vdsm")


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon in the foreground until SIGTERM or SIGINT. SIGHUP applies a changed configuration.

    :returns: the exit code: 0 stopped on request, 1 could not start (standard error says why)
    """
    parser = argparse.ArgumentParser(prog="vdsmd", description="The management daemon of one KVM host.")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="PLACE",
        help="read this file instead of the default ones; or this folder's vdsm.toml and conf.d",
    )
    options = parser.parse_args(arguments)
    try:
        loaded = config.load(options.config)
    except ConfigError as error:
        print(f"vdsmd: {error}", file=sys.stderr)  # noqa: T201 - no log is set up yet
        return 1
    set_up_log(loaded.daemon.log_level)
    return _serve(loaded, options.config)


def set_up_log(level: str) -> None:
    """Log to standard error, each line with the flow id of the call it belongs to."""
    handler = logging.StreamHandler()
    handler.addFilter(FlowFilter())
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(flow)s%(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    )
    logging.basicConfig(level=level, handlers=[handler])


def _serve(loaded: Config, place: Path | None) -> int:
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda caught, _: signals.put(caught))
    server = Server(loaded)
    presence = Presence(loaded.daemon.run_dir)
    began = time.monotonic()
    try:
        presence.claim()
        server.start()
    except ConfigError as error:
        log.error("Cannot start: %s", error)  # noqa: TRY400 - the message says it all
        presence.release()
        return 1
    _announce(server)
    _tell(presence, server, place, began, "")
    notify("READY=1")
    while signals.get() == signal.SIGHUP:
        began = time.monotonic()
        _tell(presence, server, place, began, _reload(server, place))
    notify("STOPPING=1")
    log.info("Stopping")
    server.stop()
    presence.release()
    log.info("Stopped")
    # A thread that hangs in a call to a dead hypervisor must not keep the process alive.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _reload(server: Server, place: Path | None) -> str:
    """Apply the configuration as it is now; why it cannot be, or nothing."""
    try:
        server.reload(config.load(place))
    except ConfigError as error:
        log.error("The configuration stays as it was: %s", error)  # noqa: TRY400
        server.reload_refused(str(error))
        return str(error)
    except Exception as error:
        # Whatever goes wrong here, machines are still to be managed.
        log.exception("The configuration was not applied in full")
        server.reload_refused(f"{type(error).__name__}: {error}")
        return f"{type(error).__name__}: {error}"
    log.info("The configuration was applied")
    return ""


def _tell(presence: Presence, server: Server, place: Path | None, began: float, reason: str) -> None:
    outcome = Outcome(
        began=began,
        applied=not reason,
        reason=reason,
        config=str(place.absolute()) if place else "",
        plugins=server.plugins(),
    )
    try:
        presence.tell(outcome)
    except OSError as error:
        log.warning("Cannot write down what came of it: %s", error)


def _announce(server: Server) -> None:
    running = [plugin for plugin in server.plugins() if plugin.state == "running"]
    addresses = [address for plugin in running for address in plugin.address]
    for plugin in server.plugins():
        if plugin.state == "failed":
            log.error("Plugin %s does not run: %s", plugin.name, plugin.error)
    if not addresses:
        log.warning("No binding runs: nobody can call this host")
    log.info(
        "Ready with %d verbs; listening on %s", len(server.bridge.verbs), ", ".join(addresses) or "nothing"
    )


if __name__ == "__main__":
    sys.exit(main())
