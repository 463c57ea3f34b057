"""Write manual pages and completion scripts: `packaging/manuals.py`; `--check` only lists stale ones."""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import completion_scripts
import roff
from argparse_manpage.manpage import Manpage
from source import ROOT, version

from vdsm_bridge.daemon import main as daemon
from vdsm_bridge.tool import installed
from vdsm_bridge.tool import main as tool
from vdsm_bridge.tool.installed import Installed
from vdsm_bridge.tool.reference import options as reference
from vdsm_bridge.tool.reference.type_names import comments, describe, fields
from vdsm_core.config import TABLES, Options
from vdsm_core.privileged.server import main as helper
from vdsmsh import settings

MANUALS = ROOT / "docs" / "man"
COMPLETIONS = ROOT / "packaging" / "completions"
PROSE: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
PLUGINS = tuple(name.removeprefix("vdsm-") for name, page in PROSE.items() if page["section"] == 7)

Parts = list[tuple[str, str]]


def main() -> int:
    """Write the files that changed; with `--check`, write nothing, and exit with 1 if a file is stale."""
    parser = argparse.ArgumentParser(description="Write the manual pages and completion scripts.")
    parser.add_argument("--check", action="store_true", help="write nothing; list stale files")
    check = parser.parse_args().check
    stale = {
        file: text for file, text in files().items() if not file.exists() or file.read_text("utf-8") != text
    }
    for file, text in stale.items():
        print(f"{'stale' if check else 'wrote'}: {file.relative_to(ROOT)}")
        if not check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
    return 1 if check and stale else 0


def files() -> dict[Path, str]:
    """Return every file with its text."""
    found = installed.read(only=("base", *PLUGINS))
    # The width of the terminal must not decide where usage lines break.
    os.environ["COLUMNS"] = "100"
    texts = {page: _command_page(parser) for page, parser in _commands()}
    for name, parts in (
        ("vdsm.toml", _vdsm_toml()),
        *((f"vdsm-{name}", _plugin(name, found)) for name in PLUGINS),
    ):
        texts[MANUALS / f"{name}.{PROSE[name]['section']}"] = _page(name, parts)
    for build in (daemon.parser, tool.parser):
        for shell in completion_scripts.SHELLS:
            parser = build()
            script = completion_scripts.script(parser, shell)
            texts[COMPLETIONS / f"{parser.prog}.{shell}"] = script.rstrip() + "\n"
    return texts


def _commands() -> Iterator[tuple[Path, argparse.ArgumentParser]]:
    """Yield the page and the parser of each command."""
    for parser in (daemon.parser(), helper.parser(), tool.parser(), settings.front_parser()):
        yield MANUALS / f"{parser.prog}.{PROSE[parser.prog]['section']}", parser


def _command_page(parser: argparse.ArgumentParser) -> str:
    """Return the page of a command: its parser by argparse-manpage, then sections with prose."""
    prose = PROSE[parser.prog]
    # Both are in the prose, with more detail.
    parser.description = parser.epilog = None
    page = Manpage(parser, format="single-commands-section")
    page.section, page.description = prose["section"], prose["about"]
    page.source, page.manual, page.date = f"vdsm {version()}", "vdsm", ""
    if "synopsis" in prose:
        lines = prose["synopsis"].strip().splitlines()
        page.add_section("synopsis", "=", "\n.br\n".join(map(roff.text, lines)))
    page.add_section("description", "=", roff.prose(*prose["description"]))
    for title, content in _after(prose):
        page.add_section(title, "=", content)
    return f"{roff.MARK}\n{page}"


def _page(name: str, parts: Parts) -> str:
    """Return a page that is not of a command: what the code says, between prose."""
    prose = PROSE[name]
    description = ("DESCRIPTION", roff.prose(*prose["description"]))
    parts = [description, *parts, *_after(prose)]
    return roff.page(name, prose["section"], version(), prose["about"], parts)


def _after(prose: dict[str, Any]) -> Parts:
    """Return the sections that end a page; those without a text are left out."""
    sections = [
        (title, roff.terms((term, " ".join(meaning.split())) for term, meaning in prose[key].items()))
        for title, key in (
            ("SIGNALS", "signals"),
            ("EXIT STATUS", "exit"),
            ("ENVIRONMENT", "environment"),
            ("FILES", "files"),
        )
        if key in prose
    ]
    if "examples" in prose:
        sections.append(("EXAMPLES", roff.example(prose["examples"])))
    return [*sections, ("SEE ALSO", roff.text(prose["see"]))]


def _vdsm_toml() -> Parts:
    return [(f"THE TABLE [{name}]", _options(type_)) for name, type_ in TABLES.items()]


def _plugin(name: str, found: Installed) -> Parts:
    verbs = [(verb.name, verb.summary) for verb in found.verbs.values() if verb.plugin == name]
    where = roff.prose(f"In the table `[plugin.{name}]` of vdsm.toml(5):")
    return [
        ("OPTIONS", f"{where}\n{_options(found.options.get(name, Options))}"),
        ("VERBS", roff.terms(verbs)),
        ("FILES", roff.terms([(f"/etc/vdsm/conf.d/10-{name}.toml", "The options of this plugin.")])),
    ]


def _options(type_: type[Options]) -> str:
    notes = comments(type_)
    rows = []
    for field in fields(type_):
        default = reference.default(field).rstrip(".")
        kind = describe(field.type).replace("\\|", "|")
        rows.append((field.encode_name, f"{notes.get(field.name, '')} ({kind}; default: {default})"))
    return roff.terms(rows)


if __name__ == "__main__":
    sys.exit(main())
