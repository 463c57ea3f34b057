"""Manual pages: what man(7) needs, and options as argparse and the configuration know them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator

#: What stands between ` in our texts is set in bold.
_CODE = re.compile(r"`([^`]+)`")


def page(name: str, section: int, version: str, about: str, parts: Iterable[tuple[str, str]]) -> str:
    """A page, with its sections in order; those without a text are left out."""
    lines = [
        '.\\" Written by packaging/manuals.py from the code. Change that.',
        f'.TH {name.upper()} {section} "" "vdsm {version}" "vdsm"',
        f".SH NAME\n{text(name)} \\- {text(about)}",
        *(f".SH {title}\n{body.strip()}" for title, body in parts if body.strip()),
    ]
    return "\n".join(lines) + "\n"


def text(words: str) -> str:
    """A text, with what is special to roff made plain, and code in bold."""
    plain = words.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("→", "\\(->")
    plain = _CODE.sub(r"\\fB\1\\fR", plain)
    return re.sub(r"^([.])", r"\\&\1", plain, flags=re.MULTILINE)


def prose(*paragraphs: str) -> str:
    """Paragraphs."""
    return "\n.PP\n".join(text(" ".join(each.split())) for each in paragraphs)


def example(lines: str) -> str:
    """Lines as they are."""
    shown = text(lines.strip("\n"))
    return f".PP\n.RS 4\n.nf\n{shown}\n.fi\n.RE"


def terms(rows: Iterable[tuple[str, str]]) -> str:
    """Terms with what they mean."""
    return "\n".join(f".TP\n.B {text(term)}\n{text(meaning)}" for term, meaning in rows)


def synopsis(parser: argparse.ArgumentParser) -> str:
    """Each command of a parser, with what it takes."""
    return "\n.br\n".join(_usage(each) for each in leaves(parser))


def _usage(parser: argparse.ArgumentParser) -> str:
    words = " ".join(parser.format_usage().split()).removeprefix("usage: ").removeprefix(parser.prog)
    return f"\\fB{text(parser.prog)}\\fR{text(words)}"


def commands(parser: argparse.ArgumentParser) -> str:
    """Each command with its options."""
    parts = []
    for each in leaves(parser):
        parts.append(f".SS {text(each.prog.removeprefix(parser.prog).strip())}\n{text(summary(each))}")
        parts.append(terms(options(each)))
    return "\n".join(parts)


def options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """The options and arguments of a parser, those that only help left out."""
    for action in actions(parser):
        if action.help is argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            continue
        value = str(action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper())
        flags = [f"{flag} {value}" if action.nargs != 0 else flag for flag in action.option_strings]
        yield ", ".join(flags) or value, f"{action.help.rstrip('.')}." if action.help else ""


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a parser takes; argparse has no public way to ask."""
    return [each for each in parser._actions if not isinstance(each, argparse._HelpAction)]  # noqa: SLF001


def leaves(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parsers of the commands, or the parser itself if it has none."""
    words = subcommands(parser)
    return [leaf for _, each in words for leaf in leaves(each)] if words else [parser]


def subcommands(parser: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser]]:
    """The words that a parser has, each with its own parser, whose `description` is its help."""
    found = []
    for action in actions(parser):
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            about = {each.dest: each.help or "" for each in action._choices_actions}  # noqa: SLF001
            for word, each in action.choices.items():
                each.description = each.description or about.get(word, "")
                found.append((word, each))
    return found


def summary(parser: argparse.ArgumentParser) -> str:
    """What a command is for, as a sentence."""
    says = (parser.description or "").strip()
    return f"{says[:1].upper()}{says[1:].rstrip('.')}."
