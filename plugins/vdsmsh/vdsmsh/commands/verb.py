"""A verb as a command: its options, its call, its result."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from vdsm_bridge.transport import CallOptions, CallRefused
from vdsmsh.api.catalogue import Catalogue, Verb
from vdsmsh.api.listing import lists, patterns_of
from vdsmsh.api.objects import Resolver
from vdsmsh.api.schema import Schema
from vdsmsh.api.signature import Option, Signature
from vdsmsh.commands.machine_wait import CREATE, WAITED, await_machine
from vdsmsh.commands.secrets import read_secrets
from vdsmsh.connection.fleet import FleetSession
from vdsmsh.connection.session import Session
from vdsmsh.errors import UsageError
from vdsmsh.output.display import Display
from vdsmsh.settings import ALL, Settings, add_options


def run_verb(session: Session, settings: Settings, name: str, verb: Verb, words: Sequence[str]) -> None:
    """Carry out a command that is a verb.

    :param name: the words of the command
    :param words: those that follow it
    :raises ClientError: the line is not valid, or the command failed
    :raises TransportError: the host refused, or did not answer
    """
    catalogue = session.catalogue(settings.reading)
    signature = Signature(verb, catalogue)
    display = Display(session.streams.stdout, about(verb), _epilog(verb))
    parsed = verb_parser(display, name, signature, catalogue).parse_args(words)
    settings = settings.updated(parsed)
    given = {**_given(signature, parsed), **read_secrets(signature, parsed, session.streams)}
    arguments = signature.arguments(given, getattr(parsed, "file", ""))
    resolver = Resolver(catalogue, lambda lister, given: session.listing(lister, given, settings.reading))
    arguments = resolver.resolve(signature, arguments)
    if isinstance(session, FleetSession):
        for flag in ("wait", "watch"):
            if getattr(parsed, flag, False):
                raise UsageError(f"--{flag} works with one host; name it with --host instead of {ALL}")
        _module("commands.fleet").run_on_all(
            session, verb, arguments, settings, display=display, parsed=parsed
        )
        return
    options = settings.reading if verb.kind == "query" else settings.call
    if settings.dry_run:
        shown = signature.without_secrets(arguments)
        print(session.transport.preview(verb.name, shown, options), file=session.streams.stdout)
        return
    schema, keys = Schema(verb.result), _keys(verb, catalogue)

    def ask() -> Any:
        try:
            return session.call(verb.name, arguments, options, verbose=settings.verbosity > 1)
        except CallRefused as refused:
            raise _naming_the_option(refused, signature) from None

    if getattr(parsed, "watch", False):
        view = _module("output.views").view_for(
            display, parsed, schema, keys, title=f"vdsmsh {name}", stdout=session.streams.stdout
        )
        _module("commands.watch").watch(session, settings, patterns_of(verb, catalogue), ask, view)
        return
    result = ask()
    if verb.name in WAITED and _shown_as_machine(
        session, options, verb, arguments=arguments, result=result, parsed=parsed
    ):
        return
    if getattr(parsed, "wait", False):
        result, schema = _module("commands.task").wait_for(session, settings, result["taskID"]), Schema({})
    display.show(result, schema, keys, parsed, single=bool(verb.key))


def _shown_as_machine(
    session: Session,
    options: CallOptions,
    verb: Verb,
    *,
    arguments: Mapping[str, Any],
    result: Any,
    parsed: argparse.Namespace,
) -> bool:
    """Print what became of a machine in a line; return False if the result is to be printed instead."""
    vm_id = str(result["vmId"] if verb.name == CREATE else arguments["vmID"])
    if getattr(parsed, "wait", False):
        await_machine(session, options, verb.name, vm_id)
    elif verb.name == CREATE and parsed.formatter == "table" and not parsed.columns:
        print(f"{result['vmName']} ({vm_id}) is in status {result['status']}", file=session.streams.stdout)
    else:
        return False
    return True


def _module(name: str) -> Any:
    """Import a module of vdsmsh that most commands do without."""
    return importlib.import_module(f"vdsmsh.{name}")


def _naming_the_option(refused: CallRefused, signature: Signature) -> CallRefused:
    """Return the same error; to that of an argument, add the option that sets it."""
    path = str(refused.facts.get("argument", ""))
    flags = [option.flags[0] for option in signature.options if ".".join(option.path) == path]
    if not flags:
        return refused
    message = f"{refused.message}; the option is {flags[0]}"
    return CallRefused(refused.slug, refused.code, message, refused.facts)


def about(verb: Verb) -> str:
    """Return the text above the options in the help of a verb."""
    return f"{verb.summary}\n\n{verb.description}".strip()


def _epilog(verb: Verb) -> str:
    parts = [f"Prints {verb.result_doc}." if verb.result_doc else "", f"Calls {verb.name}."]
    return " ".join(part for part in parts if part)


def _keys(verb: Verb, catalogue: Catalogue) -> list[str]:
    """Return the members that are keys of objects, first that of the objects which the verb lists."""
    own = catalogue.key_listed_by(verb.name) or catalogue.key_of(verb.namespace)
    return list(dict.fromkeys([own, *catalogue.key_names()]))


def verb_parser(display: Display, name: str, signature: Signature, catalogue: Catalogue) -> Any:
    """Return the parser of the words that follow the name of a command."""
    parser = display.get_parser(f"vdsmsh {name}")
    parser.usage = _usage(name, signature)
    # An abbreviation would become ambiguous with the next parameter.
    parser.allow_abbrev = False
    add_options(parser)
    if signature.verb.kind == "task":
        parser.add_argument(
            "--wait", action="store_true", help="wait until the task has ended, and print its result"
        )
    elif signature.verb.name in WAITED:
        parser.add_argument(
            "--wait",
            action="store_true",
            help="wait until it is done; exit code 4 if it comes to nothing; --timeout does not end it",
        )
    if lists(signature.verb, catalogue):
        parser.add_argument(
            "--watch", action="store_true", help="print the list again after each event that may change it"
        )
    group = display.parameters
    for option in signature.all:
        _add(group, option)
    if signature.lone is not None:
        # After the words that name the object: `vm set-balloon-target web 1G`.
        group.add_argument(
            _lone_dest(signature.lone),
            nargs="?",
            default=argparse.SUPPRESS,
            metavar=signature.lone.metavar,
            help=f"the same as {signature.lone.flags[0]}",
        )
    if signature.structure is not None:
        group.add_argument(
            "--file",
            default="",
            metavar="FILE",
            help=f"JSON object with members of {signature.structure.name}; - is standard input",
        )
    return parser


def _usage(name: str, signature: Signature) -> str:
    words = ["vdsmsh", name]
    for option in signature.all:
        if not option.flags:
            words.append(option.metavar)
        elif option.required and len(option.path) == 1:
            flag = option.flags[0]
            words.append(
                f"--[no-]{flag[2:]}" if option.schema.kind == "boolean" else f"{flag} {option.metavar}"
            )
    return " ".join([*words, "[options]"])


def _add(group: Any, option: Option) -> None:
    text = _help(option).replace("%", "%%")
    if not option.flags:
        group.add_argument(option.dest, metavar=option.metavar, help=text)
    elif option.schema.kind == "boolean":
        group.add_argument(
            *option.flags,
            dest=option.dest,
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
            help=text,
        )
    else:
        action = "append" if option.repeated else "store"
        group.add_argument(
            *option.flags,
            dest=option.dest,
            action=action,
            default=argparse.SUPPRESS,
            metavar=option.metavar,
            help=text,
        )
    if option.secret:
        group.add_argument(
            *option.file_flags,
            dest=option.file_dest,
            default=argparse.SUPPRESS,
            metavar="FILE",
            help="the first line of this file; - is standard input. Other users see the command line",
        )


def _help(option: Option) -> str:
    parts = [option.doc.rstrip(".")]
    if option.flags and option.schema.kind not in ("object", "array"):
        parts = [option.doc.rstrip(".") or option.schema.description, option.bounds]
    if option.listed_by:
        parts.append("name or id")
    if option.required and option.flags:
        parts.append("required")
    if option.repeated:
        parts.append("may be repeated")
    return "; ".join(part for part in parts if part)


def _given(signature: Signature, parsed: argparse.Namespace) -> dict[str, list[str]]:
    given = {}
    for option in signature.all:
        value = getattr(parsed, option.dest, None)
        if isinstance(value, bool):
            given[option.dest] = ["true" if value else "false"]
        elif value is not None:
            given[option.dest] = value if isinstance(value, list) else [value]
    word = getattr(parsed, _lone_dest(signature.lone), None) if signature.lone is not None else None
    if signature.lone is not None and word is not None:
        if signature.lone.dest in given:
            raise UsageError(f"{signature.lone.flags[0]} is given twice, once as the word '{word}'")
        given[signature.lone.dest] = [word]
    return given


def _lone_dest(option: Option) -> str:
    return f"word.{option.dest}"
