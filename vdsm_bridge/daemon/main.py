"""`vdsmd`: the daemon of one host."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final, Self

from vdsm_bridge.call.context import FlowFilter
from vdsm_bridge.daemon.allocator import give_back, share_one_arena
from vdsm_bridge.daemon.arguments import add_place, add_version
from vdsm_bridge.daemon.composition import Host
from vdsm_bridge.daemon.floods import FloodFilter
from vdsm_bridge.daemon.sd_notify import notify
from vdsm_bridge.daemon.status_file import Outcome, StatusFile
from vdsm_bridge.plugins.lifecycle import DaemonStops
from vdsm_bridge.plugins.reasons import reason_of
from vdsm_core import config
from vdsm_core.config import Config
from vdsm_core.errors import ConfigError

log = logging.getLogger("vdsm")

#: Stands among the signals for the end of the start. It is no signal's number.
_STARTED: Final = 0


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon in the foreground until SIGTERM or SIGINT. SIGHUP applies a changed configuration.

    :returns: the exit code: 0 stopped on request, 1 could not start (standard error says why)
    """
    options = parser().parse_args(arguments)
    share_one_arena()
    try:
        loaded = config.load(options.config)
    except ConfigError as error:
        print(f"vdsmd: {error}", file=sys.stderr)  # noqa: T201 - no log is set up yet
        return 1
    set_up_log(loaded.daemon.log_level)
    return _serve(loaded, options.config)


def parser() -> argparse.ArgumentParser:
    """What `vdsmd` may be started with."""
    words = argparse.ArgumentParser(prog="vdsmd", description="The management daemon of one KVM host.")
    add_version(words)
    add_place(words, default=None)
    return words


def set_up_log(level: str) -> None:
    """Log to standard error, each line with the flow id of the call it belongs to."""
    handler = logging.StreamHandler()
    handler.addFilter(FlowFilter())
    handler.addFilter(FloodFilter(handler))
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(flow)s%(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    )
    logging.basicConfig(level=level, handlers=[handler])


class Signals:
    """The signals that this process gets, in their order.

    Python runs a handler some time after the signal, when the main thread has come to a good place; between
    that place and a wait that begins there, a signal would lie unnoticed until the next one. So each is
    written to a pipe when it comes, and read from there.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)

    def add(self, number: int) -> None:
        """Let `next` return a number that is no signal's."""
        os.write(self._write, bytes([number]))

    def next(self) -> int:
        """Wait for the next one."""
        return os.read(self._read, 1)[0]


def _serve(loaded: Config, place: Path | None) -> int:
    with Signals() as signals:
        return _serve_until(signals, loaded, place)


def _serve_until(signals: Signals, loaded: Config, place: Path | None) -> int:
    status = StatusFile(loaded.daemon.run_dir)
    host = Host(loaded, plugin_changed=lambda: _update(status, host))
    try:
        status.claim()
    except ConfigError as error:
        log.error("Cannot start: %s", error)  # noqa: TRY400 - the message says it all
        return 1
    # Starts and reloads take their time when a plugin hangs. This thread hears the next signal meanwhile.
    control = ThreadPoolExecutor(1, thread_name_prefix="control")
    start = control.submit(_start, host, status, place)
    start.add_done_callback(lambda _: signals.add(_STARTED))
    work: Future[Any] = start
    while (number := signals.next()) not in {signal.SIGTERM, signal.SIGINT}:
        if number == signal.SIGHUP:
            work = control.submit(_reload_and_report, host, status, place)
        elif number == _STARTED and not start.result():
            control.shutdown()
            status.release()
            return 1
    notify("STOPPING=1")
    log.info("Stopping")
    host.hurry()
    control.shutdown(wait=False, cancel_futures=True)
    wait([work], loaded.daemon.grace)
    host.stop()
    status.release()
    log.info("Stopped")
    # A thread that hangs in a call to a dead hypervisor must not keep the process alive.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _start(host: Host, status: StatusFile, place: Path | None) -> bool:
    """Whether the daemon has come up."""
    began = time.monotonic()
    try:
        host.start()
    except (ConfigError, DaemonStops) as error:
        log.error("Cannot start: %s", error)  # noqa: TRY400 - the message says it all
        return False
    _announce(host)
    spare_the_heap()
    _report(status, host, place, began, "", waiting=[])
    notify("READY=1")
    give_back()
    return True


def spare_the_heap() -> None:
    """Let garbage collections pass over what is there now: it stays, and looking at it stops all threads."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _reload_and_report(host: Host, status: StatusFile, place: Path | None) -> None:
    began = time.monotonic()
    reason, waiting = _reload(host, place)
    spare_the_heap()
    _report(status, host, place, began, reason, waiting=waiting)


def _reload(host: Host, place: Path | None) -> tuple[str, list[str]]:
    """Apply the configuration as it is now; why it cannot be, or nothing, and what takes a restart."""
    try:
        waiting = host.reload(config.load(place))
    except ConfigError as error:
        log.error("The configuration stays as it was: %s", error)  # noqa: TRY400
        host.reload_refused(str(error))
        return str(error), []
    except DaemonStops as error:
        log.info("The configuration was not applied in full: %s", error)
        return str(error), []
    except Exception as error:
        # Whatever goes wrong here, machines are still to be managed.
        log.exception("The configuration was not applied in full")
        host.reload_refused(reason_of(error))
        return reason_of(error), []
    log.info("The configuration was applied")
    return "", waiting


def _report(
    status: StatusFile,
    host: Host,
    place: Path | None,
    began: float,
    reason: str,
    *,
    waiting: list[str],
) -> None:
    outcome = Outcome(
        began=began,
        applied=not reason,
        reason=reason,
        config=str(place.absolute()) if place else "",
        plugins=host.plugins(),
        waiting=waiting,
    )
    try:
        status.report(outcome)
    except OSError as error:
        log.warning("Cannot write down what came of it: %s", error)
    # One may have changed between the reading above and the writing.
    _update(status, host)


def _update(status: StatusFile, host: Host) -> None:
    try:
        status.update(host.plugins)
    except OSError as error:
        log.warning("Cannot write down how the plugins are: %s", error)


def _announce(host: Host) -> None:
    running = [plugin for plugin in host.plugins() if plugin.state == "running"]
    addresses = [address for plugin in running for address in plugin.address]
    for plugin in host.plugins():
        if plugin.state == "failed":
            again = "; it is tried again" if plugin.retrying else ""
            log.error("Plugin %s does not run: %s%s", plugin.name, plugin.error, again)
    if not addresses:
        log.warning("No binding runs: nobody can call this host")
    log.info(
        "Ready with %d verbs; listening on %s", len(host.bridge.verbs), ", ".join(addresses) or "nothing"
    )
