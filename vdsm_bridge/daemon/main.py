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
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final, Self

from vdsm_bridge.call.context import FlowFilter
from vdsm_bridge.daemon.account import leave_root
from vdsm_bridge.daemon.allocator import give_back, share_one_arena
from vdsm_bridge.daemon.arguments import add_place, add_system, add_version
from vdsm_bridge.daemon.composition import Host
from vdsm_bridge.daemon.floods import FloodFilter
from vdsm_bridge.daemon.sd_notify import notify
from vdsm_bridge.daemon.status_file import Outcome, StatusFile
from vdsm_bridge.plugins.lifecycle import DaemonStops
from vdsm_bridge.plugins.reasons import reason_of
from vdsm_core import config, deprecated
from vdsm_core.config import Config
from vdsm_core.errors import ConfigError
from vdsm_core.privileged.launch import OwnHelper

log = logging.getLogger("vdsm")

#: Stands among the signals for the end of the start. It is no signal's number.
_STARTED: Final = 0
#: Seconds for which a thread may keep the interpreter while others wait for it.
_SWITCH: Final = 0.0005


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon in the foreground until SIGTERM or SIGINT. SIGHUP applies a changed configuration.

    :returns: the exit code: 0 stopped on request, 1 could not start (standard error says why)
    """
    options = parser().parse_args(arguments)
    share_one_arena()
    implied = os.geteuid() == 0 and not (options.system or options.config or config.is_service())
    with config.system_folders() if options.system or implied else nullcontext():
        return _run(options.config, "vdsmd without --system" if implied else "")


def _run(place: Path | None, deprecated_way: str) -> int:
    try:
        loaded = config.load(place)
    except ConfigError as error:
        print(f"vdsmd: {error}", file=sys.stderr)  # noqa: T201 - no log is set up yet
        return 1
    set_up_log(loaded.daemon.log_level)
    if deprecated_way:
        log.warning("%s: %s", deprecated_way, deprecated.COMMANDS[deprecated_way].notice)
    try:
        helper = leave_root(loaded, place)
    except ConfigError as error:
        log.error("Cannot start: %s", error)  # noqa: TRY400 - the message says it all
        return 1
    return _serve(loaded, place, helper)


def parser() -> argparse.ArgumentParser:
    """What `vdsmd` may be started with."""
    words = argparse.ArgumentParser(prog="vdsmd", description="The management daemon of one KVM host.")
    add_version(words)
    add_system(words)
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
    """The signals that this process receives, in order.

    Python runs a handler later than the signal, between two instructions of the main thread; a signal that
    arrives just before a blocking wait would stay unnoticed until the next one. Therefore each is written to
    a pipe by the C handler, and read from there.
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
        """Make `next` return a number that is not a signal."""
        os.write(self._write, bytes([number]))

    def next(self) -> int:
        """Wait for the next one."""
        return os.read(self._read, 1)[0]


def _serve(loaded: Config, place: Path | None, helper: OwnHelper | None) -> int:
    with Signals() as signals:
        try:
            return _serve_until(signals, loaded, place, helper)
        finally:
            if helper is not None:
                helper.stop(loaded.daemon.grace)


def _serve_until(signals: Signals, loaded: Config, place: Path | None, helper: OwnHelper | None) -> int:
    status = StatusFile(loaded.daemon.run_dir)
    host = Host(loaded, plugin_changed=lambda: _update(status, host))
    if helper is not None:
        host.runtime.privileged.use(helper.address)
    try:
        status.claim()
    except ConfigError as error:
        log.error("Cannot start: %s", error)  # noqa: TRY400 - the message says it all
        return 1
    # Starts and reloads take long when a plugin hangs. This thread receives signals meanwhile.
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
    host.begin_stop()
    control.shutdown(wait=False, cancel_futures=True)
    wait([work], loaded.daemon.grace)
    host.stop()
    if helper is not None:
        helper.stop(loaded.daemon.grace / 2)
    status.release()
    log.info("Stopped")
    # A thread that hangs in a call to a dead hypervisor must not keep the process alive.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _start(host: Host, status: StatusFile, place: Path | None) -> bool:
    """Start the host; return whether that succeeded."""
    began = time.monotonic()
    try:
        host.start()
    except (ConfigError, DaemonStops) as error:
        log.error("Cannot start: %s", error)  # noqa: TRY400 - the message says it all
        return False
    _announce(host)
    spare_the_heap()
    share_the_interpreter()
    _report(status, host, place, began, "", waiting=[])
    notify("READY=1")
    give_back()
    return True


def share_the_interpreter() -> None:
    """Let a thread that waits for the interpreter have it sooner than after Python's default of 5 ms.

    A request needs the interpreter several times, after each call of the system. While another thread
    computes, it would wait that long each time.
    """
    sys.setswitchinterval(_SWITCH)


def spare_the_heap() -> None:
    """Exclude present objects from garbage collections: they stay, and examining them stops all threads."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _reload_and_report(host: Host, status: StatusFile, place: Path | None) -> None:
    began = time.monotonic()
    reason, waiting = _reload(host, place)
    spare_the_heap()
    _report(status, host, place, began, reason, waiting=waiting)


def _reload(host: Host, place: Path | None) -> tuple[str, list[str]]:
    """Apply the present configuration; return the error, if any, and the options that need a restart."""
    try:
        waiting = host.reload(config.load(place))
    except ConfigError as error:
        log.error("Cannot reload the configuration, it stays unchanged: %s", error)  # noqa: TRY400
        host.reload_refused(str(error))
        return str(error), []
    except DaemonStops as error:
        log.info("The configuration was applied in part: %s", error)
        return str(error), []
    except Exception as error:
        # A bug here must not end the management of machines.
        log.exception("The configuration was applied in part")
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
        log.warning("Cannot write the status file: %s", error)
    # A plugin may have changed between the reading above and the writing.
    _update(status, host)


def _update(status: StatusFile, host: Host) -> None:
    try:
        status.update(host.plugins)
    except OSError as error:
        log.warning("Cannot update the status file: %s", error)


def _announce(host: Host) -> None:
    running = [plugin for plugin in host.plugins() if plugin.state == "running"]
    addresses = [address for plugin in running for address in plugin.address]
    for plugin in host.plugins():
        if plugin.state == "failed":
            again = "; its start is retried" if plugin.retrying else ""
            log.error("Plugin %s does not run: %s%s", plugin.name, plugin.error, again)
    if not addresses:
        log.warning("No binding runs: this host cannot be called")
    log.info(
        "Ready with %d verbs; listening on %s", len(host.bridge.verbs), ", ".join(addresses) or "nothing"
    )
