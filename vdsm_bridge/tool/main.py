"""`vdsm-tool`: inspects an installation, checks its configuration, switches its plugins.

Exit codes: 0 done, 1 the command failed (the reason is a line on standard error), 2 invalid command line,
3 a plugin failed (`plugin list`, `reload`: it does not run, or did not stop), 4 the daemon applied the
configuration in part, and the rest needs a restart.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from vdsm_bridge.base.host import verb_info
from vdsm_bridge.call.access.rules import weaknesses
from vdsm_bridge.daemon.arguments import add_place, add_system, add_version
from vdsm_bridge.tool import (
    access_commands,
    audit_commands,
    dropin,
    installed,
    pki,
    plugin_commands,
    reference,
)
from vdsm_bridge.tool.console import (
    DONE,
    FAILED,
    NOT_WELL,
    Commands,
    print_error,
    print_line,
    toml_line,
)
from vdsm_bridge.tool.installed import Installed
from vdsm_core import config as configuration
from vdsm_core import deprecated, types
from vdsm_core.config import TABLES, Config
from vdsm_core.errors import NotFound, VdsmError

#: The entry-point group of commands.
TOOL: Final = "vdsm.tool"


class NoSuchTable(NotFound):
    """The configuration has no table of this name. Facts: `table`, `known`."""

    slug = "no-such-table"
    template = "The configuration has no table '{table}'; its tables are {known}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    :returns: the exit code
    """
    options = parser().parse_args(arguments)
    silence = logging.NullHandler()
    logging.getLogger().addHandler(silence)  # errors are printed, one line each, not logged
    try:
        with configuration.folders_of_user(system=options.system):
            return _flushed(int(options.run(options)))
    except VdsmError as error:
        print_error(str(error))
        return FAILED
    except BrokenPipeError:
        # Python flushes standard output once more at its end; without this it would print an error then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        print_error(": ".join(str(part) for part in (error.filename, error.strerror) if part) or str(error))
        return FAILED
    finally:
        logging.getLogger().removeHandler(silence)


def _flushed(code: int) -> int:
    sys.stdout.flush()
    return code


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    words = argparse.ArgumentParser(
        prog="vdsm-tool",
        description="Inspect an installation of vdsm, check its configuration, switch its plugins, "
        "manage its tokens.",
        epilog="Exit codes: 0 done; 1 the command failed; 2 invalid command line; 3 a plugin failed; "
        "4 applied in part, the rest needs a restart.",
    )
    add_version(words)
    add_system(words)
    add_place(words, default=None)
    # The option is accepted after the command, too. A default there would override the value before it.
    file = argparse.ArgumentParser(add_help=False)
    add_place(file, default=argparse.SUPPRESS)
    commands = words.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_config(commands, file)
    docs = commands.add_parser("docs", help="write the reference pages as Markdown")
    docs.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="write into this folder")
    docs.add_argument("--plugins", nargs="+", default=(), metavar="NAME", help="only of these plugins")
    docs.set_defaults(run=_docs)
    pki.add(commands)
    plugin_commands.add(commands, file)
    audit_commands.add(commands, file)
    schema = commands.add_parser(
        "schema", help="print every verb and the JSON Schemas of its types, as JSON", parents=[file]
    )
    schema.set_defaults(run=_schema)
    access_commands.add(commands, file)
    _add_of_plugins(commands, file)
    return words


def _add_of_plugins(commands: Commands[argparse.ArgumentParser], file: argparse.ArgumentParser) -> None:
    """Add the commands of plugins: functions in the entry-point group `vdsm.tool`.

    Each gets the commands and the parent with `--config`. One that cannot be loaded leaves the others alone.
    """
    for entry in sorted(metadata.entry_points(group=TOOL), key=lambda entry: entry.name):
        try:
            entry.load()(commands, file)
        except Exception as error:  # noqa: BLE001 - isolation, as of every plugin
            print_error(
                f"The commands of plugin {entry.name} cannot be loaded: {type(error).__name__}: {error}"
            )


def _add_config(commands: Commands[argparse.ArgumentParser], file: argparse.ArgumentParser) -> None:
    config = commands.add_parser("config", help="check, print and describe the configuration").add_subparsers(
        required=True, metavar="COMMAND"
    )
    check = config.add_parser("check", help="check whether the daemon would accept it", parents=[file])
    check.set_defaults(run=_config_check)
    show = config.add_parser(
        "show", help="print every option with its value and the file that sets it", parents=[file]
    )
    show.set_defaults(run=_config_show)
    docs = config.add_parser(
        "docs", help="print every option with its type, unit, default and meaning", parents=[file]
    )
    docs.add_argument("table", nargs="?", metavar="TABLE", help="only of this table: rest, daemon, ...")
    docs.set_defaults(run=_config_docs)


def _config_check(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    found = installed.read(config)
    rules = dropin.check(config, found)
    for name, table in config.plugin.items():
        if name not in found.names and table and config.enabled(name):
            print_line(f"[plugin.{name}] has no effect: no plugin of this name is installed")
    for notice in (*deprecated.options_in_use(config.origin), *weaknesses(config, rules)):
        print_line(notice)
    files = sorted(set(config.origin.values()))
    print_line(f"{', '.join(files) or 'no file, only defaults'}: this configuration can be used")
    return DONE


def _config_show(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    found = installed.read(config)
    for name in TABLES:
        _show_table(name, types.builtins(getattr(config, name)), config)
    for name in sorted({*found.names, *config.plugin}):
        type_ = found.options.get(name, configuration.Options)
        values = types.builtins(config.options(name, type_)) if config.enabled(name) else {}
        _show_table(f"plugin.{name}", {"enabled": config.enabled(name), **values}, config)
    return DONE


def _show_table(name: str, values: dict[str, object], config: Config) -> None:
    print_line(f"[{name}]")
    tables = {key: value for key, value in values.items() if isinstance(value, dict) and value}
    for key, value in values.items():
        if key not in tables:
            print_line(toml_line(key, value, f"{name}.{key}", config))
    print_line("")
    for key, table in tables.items():
        _show_table(f"{name}.{key}", table, config)


def _config_docs(options: argparse.Namespace) -> int:
    found = installed.read(configuration.load(options.config))
    page = reference.options.text(found).rstrip()
    if options.table:
        page = reference.options.section(page, options.table)
        if not page:
            raise NoSuchTable(table=options.table, known=", ".join([*TABLES, *found.names]))
    print_line(page)
    return DONE


def _docs(options: argparse.Namespace) -> int:
    found = installed.read(only=options.plugins)
    _print_failures(found)
    for file in reference.write(found, options.output):
        print_line(f"wrote {file}")
    return NOT_WELL if found.failures else DONE


def _schema(options: argparse.Namespace) -> int:
    found = installed.read(configuration.load(options.config))
    _print_failures(found)
    verbs = [types.builtins(verb_info(verb)) for verb in found.verbs.values()]
    print_line(json.dumps(verbs, indent=2, ensure_ascii=False))
    return NOT_WELL if found.failures else DONE


def _print_failures(found: Installed) -> None:
    for name, reason in found.failures.items():
        print_error(f"plugin {name}: {reason}")
