"""A verb as a command: its options, its call, its result."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from vdsm_bridge.transport import CallRefused
from vdsmsh.arguments import Option, Signature
from vdsmsh.catalogue import Catalogue, Verb
from vdsmsh.display import Display
from vdsmsh.failures import UsageError
from vdsmsh.fleet import FleetSession
from vdsmsh.objects import Resolver
from vdsmsh.schema import Schema
from vdsmsh.session import Session
from vdsmsh.settings import Settings, add_options
from vdsmsh.waiting import wait_for
from vdsmsh.watching import lists, patterns_of, shower, watch


def run_verb(session: Session, settings: Settings, name: str, verb: Verb, words: Sequence[str]) -> None:
    """Carry out a command that is a verb.

    :param name: the words of the command
    :param words: those that follow it
    :raises ClientError: it cannot be carried out
    :raises TransportError: the host refused, or did not answer
    """
    catalogue = session.catalogue(settings.reading)
    signature = Signature(verb, catalogue)
    display = Display(session.streams.stdout, about(verb), _epilog(verb))
    listing = lists(verb, catalogue)
    parsed = _parser(display, name, signature, listing=listing).parse_args(words)
    settings = settings.updated(parsed)
    arguments = signature.arguments(_given(signature, parsed), getattr(parsed, "file", ""))
    resolver = Resolver(catalogue, lambda lister: session.listing(lister, settings.reading))
    arguments = resolver.resolve(signature, arguments)
    if isinstance(session, FleetSession):
        for flag in ("wait", "watch"):
            if getattr(parsed, flag, False):
                raise UsageError(f"--{flag} is for one host")
        session.run(verb, arguments, settings, display, parsed)
        return
    options = settings.reading if verb.kind == "query" else settings.call
    if settings.dry_run:
        print(session.transport.preview(verb.name, arguments, options), file=session.streams.stdout)
        return
    schema, keys = Schema(verb.result), _keys(verb, catalogue)

    def ask() -> Any:
        try:
            return session.call(verb.name, arguments, options, verbose=settings.verbosity > 1)
        except CallRefused as refused:
            raise _in_words_of_the_shell(refused, signature) from None

    if getattr(parsed, "watch", False):
        view = shower(display, parsed, schema, keys, title=f"vdsmsh {name}", stdout=session.streams.stdout)
        watch(session, settings, patterns_of(verb, catalogue), ask, view)
        return
    result = ask()
    if getattr(parsed, "wait", False):
        result, schema = wait_for(session, settings, result["taskID"]), Schema({})
    display.show(result, schema, keys, parsed, single=bool(verb.key))


def _in_words_of_the_shell(refused: CallRefused, signature: Signature) -> CallRefused:
    """The same error; one about an argument says with which option it is given."""
    path = str(refused.facts.get("argument", ""))
    flags = [option.flags[0] for option in signature.options if ".".join(option.path) == path]
    if not flags:
        return refused
    message = f"{refused.message}; its option is {flags[0]}"
    return CallRefused(refused.slug, refused.code, message, refused.facts)


def about(verb: Verb) -> str:
    """The text of a verb's help."""
    return f"{verb.summary}\n\n{verb.description}".strip()


def _epilog(verb: Verb) -> str:
    parts = [f"Prints {verb.result_doc}." if verb.result_doc else "", f"Calls {verb.name}."]
    return " ".join(part for part in parts if part)


def _keys(verb: Verb, catalogue: Catalogue) -> list[str]:
    """Names of members that name objects, that of the objects which the verb lists first."""
    own = catalogue.key_listed_by(verb.name) or catalogue.key_of(verb.namespace)
    return list(dict.fromkeys([own, *catalogue.key_names()]))


def _parser(display: Display, name: str, signature: Signature, *, listing: bool) -> Any:
    parser = display.get_parser(f"vdsmsh {name}")
    parser.usage = _usage(name, signature)
    # An abbreviation would change its meaning with the next verb or parameter.
    parser.allow_abbrev = False
    add_options(parser)
    if signature.verb.kind == "task":
        parser.add_argument(
            "--wait", action="store_true", help="wait for the task to end, and print its result"
        )
    if listing:
        parser.add_argument(
            "--watch", action="store_true", help="show the list again whenever an event changes it"
        )
    group = display.parameters
    for option in signature.all:
        _add(group, option)
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
    return given
