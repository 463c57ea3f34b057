"""Secret options: from a file, from standard input, or typed without an echo."""

from __future__ import annotations

import argparse
import getpass

from vdsmsh.api.catalogue import Catalogue
from vdsmsh.api.signature import Option, Signature
from vdsmsh.api.values import read
from vdsmsh.errors import UsageError
from vdsmsh.streams import Streams


def read_secrets(signature: Signature, parsed: argparse.Namespace, streams: Streams) -> dict[str, list[str]]:
    """Return the words of the secret options that the line does not hold itself, by `Option.dest`.

    On a terminal, a secret that is required and not given is asked for.

    :raises UsageError: a file cannot be read, or an option is given in both ways
    """
    given = {}
    for option in signature.options:
        if not option.secret:
            continue
        file = getattr(parsed, option.file_dest, None)
        on_line = hasattr(parsed, option.dest)
        if file is not None:
            if on_line:
                raise UsageError(f"{option.flags[0]} and {option.file_flags[0]} exclude each other")
            given[option.dest] = [_word(_first_line(option, file))]
        elif not on_line and option.required and len(option.path) == 1 and streams.stdin.isatty():
            given[option.dest] = [_word(getpass.getpass(f"{option.metavar.capitalize()}: "))]
    return given


def secret_flags(catalogue: Catalogue) -> frozenset[str]:
    """Return the options of all verbs whose values are secrets on the line itself."""
    return frozenset(
        flag
        for verb in catalogue.verbs.values()
        if "'password'" in str([parameter.schema for parameter in verb.parameters])
        for option in Signature(verb, catalogue).options
        if option.secret
        for flag in option.flags
    )


def holds_secret(line: str, flags: frozenset[str]) -> bool:
    """Return whether a line has one of the options in it."""
    return any(word.partition("=")[0] in flags for word in line.split())


def _first_line(option: Option, file: str) -> str:
    try:
        return read(file).partition("\n")[0].rstrip("\r")
    except ValueError as error:
        raise UsageError(f"{option.file_flags[0]}: {error}") from None


def _word(text: str) -> str:
    """Return the word that stands for a text: one with `@` in front would name a file."""
    return f"@{text}" if text.startswith("@") else text
