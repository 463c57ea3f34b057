"""`vdsm-tool`: what an administrator or a packager asks of an installation; most of it without a daemon.

Exit codes: 0 done, 1 it cannot be done (standard error says why, in one line), 2 wrong usage,
3 something that was looked at is not well (`plugin list`, `reload`: a plugin does not run, or has not stopped
as it should), 4 the daemon has applied the configuration in part, and a restart is needed for the rest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from vdsm_bridge.base.host import verb_info
from vdsm_bridge.call.context import ROLES
from vdsm_bridge.daemon.arguments import add_place, add_version
from vdsm_bridge.tool import dropin, installed, plugin_commands, reference
from vdsm_bridge.tool.console import (
    DONE,
    FAILED,
    NOT_WELL,
    Commands,
    complain,
    say,
    toml_line,
)
from vdsm_bridge.tool.installed import Installed
from vdsm_core import config as configuration
from vdsm_core import deprecated, types
from vdsm_core.config import TABLES, Config
from vdsm_core.errors import NotFound, VdsmError


class NoSuchTable(NotFound):
    """The configuration has no table of this name. Facts: `table`, `known`."""

    slug = "no-such-table"
    template = "The configuration has no table '{table}'; there are {known}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; the exit code."""
    options = parser().parse_args(arguments)
    silence = logging.NullHandler()
    logging.getLogger().addHandler(silence)  # what fails is told in one line each, not as a log
    try:
        return _flushed(int(options.run(options)))
    except VdsmError as error:
        complain(str(error))
        return FAILED
    except BrokenPipeError:
        # Whoever read the output has seen enough. Python would complain at its end about what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        complain(": ".join(str(part) for part in (error.filename, error.strerror) if part) or str(error))
        return FAILED
    finally:
        logging.getLogger().removeHandler(silence)


def _flushed(code: int) -> int:
    sys.stdout.flush()
    return code


def parser() -> argparse.ArgumentParser:
    """The commands of `vdsm-tool`."""
    words = argparse.ArgumentParser(
        prog="vdsm-tool",
        description="Look at an installation of vdsm, check its configuration, switch its plugins.",
        epilog="Exit codes: 0 done; 1 it cannot be done; 2 wrong usage; 3 something is not well; "
        "4 applied in part, a restart is needed for the rest.",
    )
    add_version(words)
    add_place(words, default=None)
    # After the command, too; there without a default, or it would undo what stands before the command.
    file = argparse.ArgumentParser(add_help=False)
    add_place(file, default=argparse.SUPPRESS)
    commands = words.add_subparsers(required=True, metavar="COMMAND")
    _add_config(commands, file)
    docs = commands.add_parser("docs", help="write the reference pages")
    docs.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where they go")
    docs.add_argument("--plugins", nargs="+", default=(), metavar="NAME", help="of these plugins only")
    docs.set_defaults(run=_docs)
    plugin_commands.add(commands, file)
    schema = commands.add_parser(
        "schema", help="print every verb with JSON Schemas of its types, as JSON", parents=[file]
    )
    schema.set_defaults(run=_schema)
    token = commands.add_parser("token", help="make a bearer token")
    token.add_argument("name", metavar="NAME", type=_word, help="whose it is")
    token.add_argument("role", metavar="ROLE", choices=ROLES, help=", ".join(ROLES))
    token.set_defaults(run=_token)
    return words


def _add_config(commands: Commands[argparse.ArgumentParser], file: argparse.ArgumentParser) -> None:
    config = commands.add_parser("config", help="the configuration").add_subparsers(
        required=True, metavar="COMMAND"
    )
    check = config.add_parser("check", help="tell whether the daemon would accept it", parents=[file])
    check.set_defaults(run=_config_check)
    show = config.add_parser(
        "show", help="print what holds, defaults included, and which file says so", parents=[file]
    )
    show.set_defaults(run=_config_show)
    docs = config.add_parser(
        "docs", help="print every option with its type, unit, default and meaning", parents=[file]
    )
    docs.add_argument("table", nargs="?", metavar="TABLE", help="only of this one: rest, daemon, ...")
    docs.set_defaults(run=_config_docs)


def _word(text: str) -> str:
    if not text or text.split() != [text]:
        raise argparse.ArgumentTypeError("a name is one word")
    return text


def _config_check(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    found = installed.read(config)
    dropin.check(config, found)
    for name, table in config.plugin.items():
        if name not in found.names and table and config.enabled(name):
            say(f"[plugin.{name}] belongs to no plugin that is installed")
    for notice in deprecated.options_in_use(config.origin):
        say(notice)
    files = sorted(set(config.origin.values()))
    say(f"{', '.join(files) or 'no file, all defaults'}: this configuration can be used")
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
    say(f"[{name}]")
    tables = {key: value for key, value in values.items() if isinstance(value, dict) and value}
    for key, value in values.items():
        if key not in tables:
            say(toml_line(key, value, f"{name}.{key}", config))
    say("")
    for key, table in tables.items():
        _show_table(f"{name}.{key}", table, config)


def _config_docs(options: argparse.Namespace) -> int:
    found = installed.read(configuration.load(options.config))
    page = reference.options.text(found).rstrip()
    if options.table:
        page = reference.options.section(page, options.table)
        if not page:
            raise NoSuchTable(table=options.table, known=", ".join([*TABLES, *found.names]))
    say(page)
    return DONE


def _docs(options: argparse.Namespace) -> int:
    found = installed.read(only=options.plugins)
    _tell_failures(found)
    for file in reference.write(found, options.output):
        say(f"wrote {file}")
    return NOT_WELL if found.failures else DONE


def _schema(options: argparse.Namespace) -> int:
    found = installed.read(configuration.load(options.config))
    _tell_failures(found)
    verbs = [types.builtins(verb_info(verb)) for verb in found.verbs.values()]
    say(json.dumps(verbs, indent=2, ensure_ascii=False))
    return NOT_WELL if found.failures else DONE


def _token(options: argparse.Namespace) -> int:
    token = secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    say(f"The token, shown only now:\n  {token}\n")
    say("The line for the file that `tokens` in [access] names:")
    say(f"  {options.role} {options.name} {digest}")
    return DONE


def _tell_failures(found: Installed) -> None:
    for name, reason in found.failures.items():
        complain(f"plugin {name}: {reason}")
