"""`vdsm-tool plugin ...` and `vdsm-tool reload`: list, switch and create plugins."""

from __future__ import annotations

import argparse
from pathlib import Path

from vdsm_bridge.daemon import status_file
from vdsm_bridge.daemon.status_file import NoDaemon, Outcome
from vdsm_bridge.plugins.feature import PluginInfo
from vdsm_bridge.tool import dropin, installed, skeleton
from vdsm_bridge.tool.console import (
    DONE,
    FAILED,
    NOT_WELL,
    RESTART,
    Commands,
    print_error,
    print_line,
    toml_line,
)
from vdsm_bridge.tool.installed import Installed
from vdsm_bridge.tool.reference.type_names import comments, describe, fields
from vdsm_core import config as configuration
from vdsm_core import types
from vdsm_core.config import Config, Options
from vdsm_core.errors import NotFound
from vdsm_core.plugins import PLUGIN_API, Found


class NoSuchPlugin(NotFound):
    """No plugin of this name is installed. Facts: `plugin`, `installed`."""

    slug = "no-such-plugin"
    template = "No plugin '{plugin}' is installed; the installed ones are {installed}"


def add(commands: Commands[argparse.ArgumentParser], file: argparse.ArgumentParser) -> None:
    """Add the commands to the parser.

    :param file: the parent parser with `--config`
    """
    plugin = commands.add_parser("plugin", help="list plugins, switch them on and off, create a new one")
    words = plugin.add_subparsers(required=True, metavar="COMMAND")
    listed = words.add_parser(
        "list", help="list installed plugins with their configuration and their state", parents=[file]
    )
    listed.set_defaults(run=_list)
    show = words.add_parser(
        "show", help="print the origin, state, verbs and options of a plugin", parents=[file]
    )
    show.add_argument("name", metavar="NAME", help="name of the plugin, as in `plugin list`")
    show.set_defaults(run=_show)
    for word, on in (("enable", True), ("disable", False)):
        switch = words.add_parser(
            word, help=f"switch a plugin {'on' if on else 'off'}, also in the running daemon", parents=[file]
        )
        switch.add_argument("name", metavar="NAME", help="name of the plugin, as in `plugin list`")
        switch.add_argument("--no-reload", action="store_true", help="do not reload the daemon")
        _add_timeout(switch)
        switch.set_defaults(run=_switch, on=on)
    new = words.add_parser("new", help="write the skeleton of a new plugin, with its tests")
    new.add_argument("name", metavar="NAME", help="lower-case letters, digits and _")
    new.add_argument(
        "--output",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="create it in this folder (the current one)",
    )
    new.set_defaults(run=_new)
    reload = commands.add_parser(
        "reload",
        help="make the running daemon apply its configuration",
        parents=[file],
    )
    _add_timeout(reload)
    reload.set_defaults(run=_reload)


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="seconds to wait for the daemon (60)"
    )


def _list(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    everything, switched_on = installed.read(), installed.read(config)
    reported = {(plugin.name, plugin.group): plugin for plugin in _reported(config)}
    rows = [("NAME", "GROUP", "DISTRIBUTION", "CONFIGURATION", "DAEMON")]
    well = not switched_on.failures
    for plugin in everything.plugins:
        running = reported.get((plugin.name, plugin.group))
        state = _state(running, where=False) if running else "-"
        well = well and not (running and running.error)
        switch = "enabled"
        if not config.enabled(plugin.name):
            switch = "disabled"
        elif plugin.name in switched_on.failures:
            state = f"broken: {switched_on.failures[plugin.name]}"
        rows.append((plugin.name, plugin.group, plugin.source, switch, state))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print_line(
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        )
    return DONE if well else NOT_WELL


def _show(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    everything = installed.read()
    mine = [plugin for plugin in everything.plugins if plugin.name == options.name]
    if not mine:
        raise NoSuchPlugin(plugin=options.name, installed=", ".join(everything.names))
    broken = everything.failures.get(options.name, "")
    verbs = [verb.name for verb in everything.verbs.values() if verb.plugin == options.name]
    for label, text in (
        ("name", options.name),
        ("distribution", ", ".join(dict.fromkeys(plugin.source for plugin in mine))),
        ("plugin API", ", ".join(dict.fromkeys(str(_api(plugin)) for plugin in mine))),
        ("entry points", ", ".join(f"{plugin.target} ({plugin.group})" for plugin in mine)),
        ("configuration", _switched(options.name, config)),
        ("broken", broken),
        ("daemon", _running(options.name, config)),
        ("verbs", ", ".join(verbs)),
    ):
        if text:
            print_line(f"{label + ':':15}{text}")
    _show_options(options.name, everything, config)
    return NOT_WELL if broken else DONE


def _api(plugin: Found) -> object:
    return getattr(plugin.loaded, "plugin_api", PLUGIN_API) if plugin.loaded is not None else "?"


def _switched(name: str, config: Config) -> str:
    state = "enabled" if config.enabled(name) else "disabled"
    origin = config.origin.get(f"plugin.{name}.enabled")
    return f"{state} by {origin}" if origin else f"{state}, by default"


def _running(name: str, config: Config) -> str:
    try:
        status_file.find(config.daemon.run_dir)
    except NoDaemon as none:
        return str(none)
    mine = [plugin for plugin in _reported(config) if plugin.name == name]
    return "; ".join(map(_state, mine)) or "installed after its last start or reload; run: vdsm-tool reload"


def _reported(config: Config) -> list[PluginInfo]:
    """Return the plugins as the running daemon reported them after its start or its last reload."""
    try:
        status_file.find(config.daemon.run_dir)
    except NoDaemon:
        return []
    outcome = status_file.last_outcome(config.daemon.run_dir)
    return outcome.plugins if outcome else []


def _state(plugin: PluginInfo, *, where: bool = True) -> str:
    place = f" on {', '.join(plugin.address)}" if where and plugin.address else ""
    again = "; it is tried again" if plugin.retrying else ""
    return f"{plugin.state}{place}" + (f": {plugin.error}{again}" if plugin.error else "")


def _show_options(name: str, found: Installed, config: Config) -> None:
    type_ = found.options.get(name, Options)
    values = types.builtins(config.options(name, type_))
    meanings = comments(type_)
    if values:
        print_line(f"\n[plugin.{name}]")
    for field in fields(type_):
        print_line(f"# {describe(field.type)}. {meanings.get(field.name, '')}")
        key = field.encode_name
        print_line(toml_line(key, values[key], f"plugin.{name}.{key}", config))


def _switch(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    outcome = None if options.no_reload else _daemon_of(config, options)
    file = dropin.switch(options.name, installed.read(), options.config, on=options.on)
    state = "enabled" if options.on else "disabled"
    print_line(f"{options.name} is {state} in {file}" if file else f"{options.name} is {state} already")
    if outcome is None:
        why = "--no-reload was given" if options.no_reload else "no daemon runs"
        print_line(f"The change takes effect at the next start or reload of the daemon: {why}")
        return DONE
    return _report(status_file.reload(config.daemon.run_dir, options.timeout), options.name)


def _reload(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    return _report(status_file.reload(config.daemon.run_dir, options.timeout))


def _daemon_of(config: Config, options: argparse.Namespace) -> Outcome | None:
    """Return the last report of the running daemon; None if none runs.

    :raises CannotSwitch: it reads another configuration
    """
    try:
        status_file.find(config.daemon.run_dir)
    except NoDaemon:
        return None
    outcome = status_file.last_outcome(config.daemon.run_dir)
    mine = str(options.config.absolute()) if options.config else ""
    if outcome is not None and outcome.config != mine:
        theirs = (
            f"{outcome.config}; give it with --config"
            if outcome.config
            else "its default files; omit --config"
        )
        raise dropin.CannotSwitch(plugin=options.name, reason=f"the running daemon reads {theirs}")
    return outcome


def _report(outcome: Outcome, name: str = "") -> int:
    """Print the outcome of a reload: the state of one plugin, and of all that failed."""
    if not outcome.applied:
        print_error(f"the daemon refused the configuration and keeps the previous one: {outcome.reason}")
        return FAILED
    if outcome.waiting:
        print_line("The daemon has applied the configuration in part")
        print_error(f"restart vdsmd to apply the rest: {', '.join(outcome.waiting)}")
    else:
        print_line("The daemon has applied the configuration")
    failed = [plugin for plugin in outcome.plugins if plugin.error]
    for plugin in outcome.plugins:
        if plugin.name == name and plugin not in failed:
            print_line(f"{plugin.name} ({plugin.group}): {_state(plugin)}")
    for plugin in failed:
        print_error(f"plugin {plugin.name} ({plugin.group}): {_state(plugin)}")
    if failed:
        return NOT_WELL
    return RESTART if outcome.waiting else DONE


def _new(options: argparse.Namespace) -> int:
    folder = skeleton.write(options.name, options.output, installed.read())
    print_line(
        f"Wrote {folder}. Next:\n  cd {folder}\n  pip install --editable '.[test]'\n  python -m pytest"
    )
    return DONE
