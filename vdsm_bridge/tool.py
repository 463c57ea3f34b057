"""`vdsm-tool`: what an administrator or a packager asks of an installation, without a running daemon.

Exit codes: 0 done, 1 it cannot be done (standard error says why, in one line), 2 wrong usage,
3 something that was looked at is not well (`plugin list`: a plugin that is switched on cannot be used).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vdsm_bridge import installed, reference
from vdsm_bridge.base.host import verb_info
from vdsm_bridge.context import ROLES
from vdsm_bridge.installed import Installed
from vdsm_core import config as configuration
from vdsm_core import types
from vdsm_core.config import TABLES, Config
from vdsm_core.errors import VdsmError

DONE: Final = 0
FAILED: Final = 1
NOT_WELL: Final = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; the exit code."""
    options = _parser().parse_args(arguments)
    silence = logging.NullHandler()
    logging.getLogger().addHandler(silence)  # what fails is told in one line each, not as a log
    try:
        return int(options.run(options))
    except (VdsmError, OSError) as error:
        print(f"vdsm-tool: {error}", file=sys.stderr)  # noqa: T201 - a command line speaks so
        return FAILED
    finally:
        logging.getLogger().removeHandler(silence)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vdsm-tool",
        description="Look at an installation of vdsm and its configuration; no daemon needs to run.",
        epilog="Exit codes: 0 done; 1 it cannot be done; 2 wrong usage; 3 something is not well.",
    )
    _add_file(parser, default=None)
    # After the command, too; there without a default, or it would undo what stands before the command.
    file = argparse.ArgumentParser(add_help=False)
    _add_file(file, default=argparse.SUPPRESS)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_config(commands, file)
    docs = commands.add_parser("docs", help="write the reference pages")
    docs.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    docs.add_argument("--plugins", nargs="+", default=(), metavar="NAME", help="of these plugins only")
    docs.set_defaults(run=_docs)
    plugin = commands.add_parser("plugin", help="what is installed").add_subparsers(
        required=True, metavar="COMMAND"
    )
    listed = plugin.add_parser(
        "list", help="every installed plugin, and whether it can be used", parents=[file]
    )
    listed.set_defaults(run=_plugin_list)
    schema = commands.add_parser(
        "schema", help="print every verb with JSON Schemas of its types, as JSON", parents=[file]
    )
    schema.set_defaults(run=_schema)
    token = commands.add_parser("token", help="make a bearer token")
    token.add_argument("name", metavar="NAME", type=_word, help="whose it is")
    token.add_argument("role", metavar="ROLE", choices=ROLES, help=", ".join(ROLES))
    token.set_defaults(run=_token)
    return parser


def _add_file(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        default=default,
        metavar="FILE",
        help="read this file instead of the default ones",
    )


def _add_config(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], file: argparse.ArgumentParser
) -> None:
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
        "docs", help="print every option with its type, default and meaning", parents=[file]
    )
    docs.set_defaults(run=_config_docs)


def _word(text: str) -> str:
    if not text or text.split() != [text]:
        raise argparse.ArgumentTypeError("a name is one word")
    return text


def _config_check(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    found = installed.read(config)
    for plugin in found.plugins:
        config.options(plugin.name, found.options.get(plugin.name, configuration.Options))
    names = {plugin.name for plugin in found.plugins}
    for name in config.plugin:
        if name not in names and config.enabled(name):
            _say(f"[plugin.{name}] belongs to no plugin that is installed")
    files = sorted(set(config.origin.values()))
    _say(f"{', '.join(files) or 'no file, all defaults'}: this configuration can be used")
    return DONE


def _config_show(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    found = installed.read(config)
    for name in TABLES:
        _show_table(name, types.builtins(getattr(config, name)), config)
    for name in sorted({plugin.name for plugin in found.plugins} | set(config.plugin)):
        type_ = found.options.get(name, configuration.Options)
        values = types.builtins(config.options(name, type_)) if config.enabled(name) else {}
        _show_table(f"plugin.{name}", {"enabled": config.enabled(name), **values}, config)
    return DONE


def _show_table(name: str, values: dict[str, object], config: Config) -> None:
    _say(f"[{name}]")
    tables = {key: value for key, value in values.items() if isinstance(value, dict) and value}
    for key, value in values.items():
        if key not in tables:
            origin = config.origin.get(f"{name}.{key}")
            # What JSON says of texts, numbers, booleans and lists of them, TOML says, too.
            _say(f"{key} = {json.dumps(value, ensure_ascii=False)}" + (f"  # {origin}" if origin else ""))
    _say("")
    for key, table in tables.items():
        _show_table(f"{name}.{key}", table, config)


def _config_docs(options: argparse.Namespace) -> int:
    _say(reference.render(installed.read(configuration.load(options.config)))["options.md"].rstrip())
    return DONE


def _docs(options: argparse.Namespace) -> int:
    found = installed.read(only=options.plugins)
    _tell_failures(found)
    for file in reference.write(found, options.output):
        _say(f"wrote {file}")
    return NOT_WELL if found.failures else DONE


def _plugin_list(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    everything, switched_on = installed.read(), installed.read(config)
    rows = [("NAME", "GROUP", "DISTRIBUTION", "STATE")]
    for plugin in everything.plugins:
        if not config.enabled(plugin.name):
            state = "disabled"
        elif plugin.name in switched_on.failures:
            state = f"broken: {switched_on.failures[plugin.name]}"
        else:
            state = "enabled"
        rows.append((plugin.name, plugin.group, f"{plugin.distribution} {plugin.version}", state))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        _say("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))
    return NOT_WELL if switched_on.failures else DONE


def _schema(options: argparse.Namespace) -> int:
    found = installed.read(configuration.load(options.config))
    _tell_failures(found)
    verbs = [types.builtins(verb_info(verb)) for verb in found.verbs.values()]
    _say(json.dumps(verbs, indent=2, ensure_ascii=False))
    return NOT_WELL if found.failures else DONE


def _token(options: argparse.Namespace) -> int:
    token = secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    _say(f"The token, shown only now:\n  {token}\n")
    _say("The line for the file that `tokens` in [access] names:")
    _say(f"  {options.role} {options.name} {digest}")
    return DONE


def _tell_failures(found: Installed) -> None:
    for name, reason in found.failures.items():
        print(f"vdsm-tool: plugin {name}: {reason}", file=sys.stderr)  # noqa: T201


def _say(text: str) -> None:
    print(text)  # noqa: T201 - what was asked for


if __name__ == "__main__":
    sys.exit(main())
