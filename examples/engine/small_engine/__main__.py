"""The engine's command line: `small-engine amqp://engine@broker inventory`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from small_engine.engine import Engine, EngineError
from vdsm_qmf.console import BadBroker, Cluster, TransportError


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one thing.

    :returns: the exit code: 0 done, 1 failed (the reason is on standard error)
    """
    given = _parser().parse_args(arguments)
    try:
        # The password of the user is not for the command line.
        cluster = Cluster(given.url, password=os.environ.get("VDSM_BUS_PASSWORD", ""))
        cluster.start(given.patience)
        with closing(cluster):
            cluster.wait_for(hosts=given.hosts, timeout=given.patience)
            given.work(Engine(cluster, memory=given.memory), given)
    except (EngineError, BadBroker, TransportError) as error:
        print(f"small-engine: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="small-engine", description=__doc__)
    parser.add_argument("url", help="amqp://user@broker; its password is in VDSM_BUS_PASSWORD")
    parser.add_argument("--hosts", type=int, default=1, help="wait for so many hosts first")
    parser.add_argument(
        "--patience", type=float, default=15.0, help="seconds to wait for the broker, and for hosts"
    )
    parser.add_argument("--memory", type=Path, help="file for what is known of machines")
    commands = parser.add_subparsers(required=True)
    inventory = commands.add_parser("inventory", help="every host and every machine")
    inventory.set_defaults(work=_inventory)
    place = commands.add_parser("place", help="start a machine on the least loaded host")
    place.add_argument("name")
    place.add_argument("--mib", type=int, default=512, help="memory of the machine")
    place.set_defaults(work=_place)
    migrate = commands.add_parser("migrate", help="move a running machine")
    migrate.add_argument("machine", help="its id or name")
    migrate.add_argument("target", help="id of the host")
    migrate.set_defaults(work=_migrate)
    restart = commands.add_parser("restart", help="start the machines of a dead host elsewhere")
    restart.add_argument("host", help="id of the host")
    restart.add_argument(
        "--it-is-dead", action="store_true", dest="dead", help="you have seen that it is off"
    )
    restart.set_defaults(work=_restart)
    return parser


def _inventory(engine: Engine, _given: argparse.Namespace) -> None:
    found = engine.inventory()
    for host in found.hosts:
        print(f"host {host.id} {host.name} {host.load:.0%} of {host.memory} MiB, {host.machines} machines")
    for host_id, reason in found.silent.items():
        print(f"host {host_id} silent: {reason}")
    for machine in found.machines:
        print(f"machine {machine.id} {machine.name} {machine.status} on {machine.host}")
    for vm_id in found.doubled:
        print(f"machine {vm_id} RUNS TWICE")


def _place(engine: Engine, given: argparse.Namespace) -> None:
    machine = engine.place({"vmName": given.name, "memSize": given.mib})
    print(f"{machine.id} is {machine.status} on {machine.host}")


def _migrate(engine: Engine, given: argparse.Namespace) -> None:
    machine = engine.migrate(given.machine, given.target)
    print(f"{machine.id} is {machine.status} on {machine.host}")


def _restart(engine: Engine, given: argparse.Namespace) -> None:
    ended = engine.restart_from(given.host, dead=given.dead)
    for name, how in ended.items():
        print(f"{name}: {how}" if isinstance(how, Exception) else f"{name} is {how.status} on {how.host}")
    if any(isinstance(how, Exception) for how in ended.values()):
        raise EngineError("not every machine was started")


if __name__ == "__main__":
    sys.exit(main())
