"""Completion scripts for bash and zsh, from parsers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import roff

#: The commands that take the name of a plugin.
_PLUGINS = ("plugin show", "plugin enable", "plugin disable")
_MARK = "# Written by packaging/manuals.py from the parser. Change that."


def bash(parser: argparse.ArgumentParser) -> str:
    """The script for bash."""
    name = f"_{parser.prog.replace('-', '_')}"
    cases = "\n".join(_bash_case(path, each, parser.prog) for path, each in _paths(parser, ""))
    return f"""\
{_MARK}
{name}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} path= words= i
    local values=" {" ".join(sorted(_valued(parser)))} "
    local known="{_known(parser)}"
    for (( i = 1; i < COMP_CWORD; i++ )); do
        if [[ $values == *" ${{COMP_WORDS[i]}} "* ]]; then
            (( ++i ))
        elif [[ $known == *"|${{path:+$path }}${{COMP_WORDS[i]}}|"* ]]; then
            path+="${{path:+ }}${{COMP_WORDS[i]}}"
        fi
    done
    if [[ $values == *" $before "* ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
    fi
    case $path in
{cases}
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}}
complete -o filenames -F {name} {parser.prog}
"""


def _bash_case(path: str, parser: argparse.ArgumentParser, prog: str) -> str:
    words = " ".join(_words(parser))
    if path in _PLUGINS:
        words += f" $({prog} plugin list 2>/dev/null | awk 'NR > 1 {{ print $1 }}')"
    return f'        "{path}") words="{words}" ;;'


def zsh(parser: argparse.ArgumentParser) -> str:
    """The script for zsh, to lie in a folder of its `fpath`. It completes what that for bash does."""
    name = f"_{parser.prog}"
    cases = "\n".join(_zsh_case(path, each, parser.prog) for path, each in _paths(parser, ""))
    return f"""\
#compdef {parser.prog}
{_MARK}
{name}() {{
    local path_= values=" {" ".join(sorted(_valued(parser)))} " i
    local known="{_known(parser)}"
    local -a offers
    for (( i = 2; i < CURRENT; i++ )); do
        if [[ $values == *" $words[i] "* ]]; then
            (( ++i ))
        elif [[ $known == *"|${{path_:+$path_ }}$words[i]|"* ]]; then
            path_+="${{path_:+ }}$words[i]"
        fi
    done
    if [[ $values == *" $words[CURRENT-1] "* ]]; then
        _files
        return
    fi
    case $path_ in
{cases}
    esac
    _describe -t words word offers
}}
if [[ $funcstack[1] == {name} ]]; then
    {name} "$@"
else
    compdef {name} {parser.prog}
fi
"""


def _zsh_case(path: str, parser: argparse.ArgumentParser, prog: str) -> str:
    offers = [f"{word}:{_zsh_safe(about)}" for word, about in _words(parser).items()]
    quoted = " ".join(f"'{offer}'" for offer in offers)
    if path in _PLUGINS:
        quoted += f" ${{(f)\"$({prog} plugin list 2>/dev/null | awk 'NR > 1 {{ print $1 }}')\"}}"
    return f"        '{path}') offers=({quoted}) ;;"


def _zsh_safe(about: str) -> str:
    return about.replace("'", "'\\''").replace(":", "\\:")


def _paths(parser: argparse.ArgumentParser, path: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each parser, with the words that lead to it."""
    yield path, parser
    for word, each in roff.subcommands(parser):
        yield from _paths(each, f"{path} {word}".strip())


def _known(parser: argparse.ArgumentParser) -> str:
    """The words that lead to commands, each between bars; other words of a line are arguments."""
    return f"|{'|'.join(path for path, _ in _paths(parser, '') if path)}|"


def _words(parser: argparse.ArgumentParser) -> dict[str, str]:
    """What may come next, with what it is for."""
    words = {word: each.description or "" for word, each in roff.subcommands(parser)}
    for action in roff.actions(parser):
        for flag in action.option_strings:
            words[flag] = action.help or ""
        if not action.option_strings and not words and action.choices:
            words |= dict.fromkeys(map(str, action.choices), "")
    return words | {"--help": "tell what there is"}


def _valued(parser: argparse.ArgumentParser) -> set[str]:
    """The options that take a value."""
    return {
        flag
        for _, each in _paths(parser, "")
        for action in roff.actions(each)
        for flag in action.option_strings
        if action.nargs != 0
    }
