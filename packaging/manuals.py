"""Write manual pages and completion scripts: `packaging/manuals.py`; `--check` only tells what is stale."""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path
from typing import Any

import roff
import shells
from source import ROOT, version

from vdsm_bridge.daemon import main as daemon
from vdsm_bridge.tool import installed
from vdsm_bridge.tool import main as tool
from vdsm_bridge.tool.installed import Installed
from vdsm_bridge.tool.reference import options as reference
from vdsm_bridge.tool.reference.spelling import comments, describe, fields
from vdsm_core.config import TABLES, Options
from vdsmsh import helptext
from vdsmsh import main as vdsmsh

MANUALS = ROOT / "docs" / "man"
COMPLETIONS = ROOT / "packaging" / "completions"
PROSE: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
PLUGINS = tuple(name.removeprefix("vdsm-") for name, page in PROSE.items() if page["section"] == 7)

Parts = list[tuple[str, str]]


def main() -> int:
    """Write what has changed; with `--check`, the exit code is 1 if something would."""
    parser = argparse.ArgumentParser(description="Write the manual pages and completion scripts.")
    parser.add_argument("--check", action="store_true", help="write nothing; tell what is stale")
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
    """Every file with its text."""
    found = installed.read(only=("base", *PLUGINS))
    bodies = {"vdsmd": _vdsmd(), "vdsm-tool": _vdsm_tool(), "vdsmsh": _vdsmsh(), "vdsm.toml": _vdsm_toml()}
    bodies |= {f"vdsm-{name}": _plugin(name, found) for name in PLUGINS}
    texts = {
        MANUALS / f"{name}.{PROSE[name]['section']}": _page(name, parts) for name, parts in bodies.items()
    }
    for parser in (daemon.parser(), tool.parser()):
        texts[COMPLETIONS / f"{parser.prog}.bash"] = shells.bash(parser)
        texts[COMPLETIONS / f"{parser.prog}.zsh"] = shells.zsh(parser)
    return texts


def _page(name: str, parts: Parts) -> str:
    """A page: what the code says, between what its prose does."""
    prose = PROSE[name]
    before: Parts = []
    if parts[0][0] == "SYNOPSIS":
        before.append(parts.pop(0))
    before.append(("DESCRIPTION", roff.prose(*prose["description"])))
    after = [
        (title, roff.terms((term, " ".join(meaning.split())) for term, meaning in prose.get(key, {}).items()))
        for title, key in (
            ("SIGNALS", "signals"),
            ("EXIT STATUS", "exit"),
            ("ENVIRONMENT", "environment"),
            ("FILES", "files"),
        )
    ]
    after.append(("EXAMPLES", roff.example(prose["examples"]) if "examples" in prose else ""))
    after.append(("SEE ALSO", roff.text(prose["see"])))
    return roff.page(name, prose["section"], version(), prose["about"], [*before, *parts, *after])


def _vdsmd() -> Parts:
    parser = daemon.parser()
    return [("SYNOPSIS", roff.synopsis(parser)), ("OPTIONS", roff.terms(roff.options(parser)))]


def _vdsm_tool() -> Parts:
    parser = tool.parser()
    return [
        ("SYNOPSIS", roff.synopsis(parser)),
        ("OPTIONS", roff.terms(roff.options(parser))),
        ("COMMANDS", roff.commands(parser)),
    ]


def _vdsmsh() -> Parts:
    usage, _, describes = helptext.USAGE.partition("\n\n")
    lines = (each.removeprefix("usage:").strip() for each in usage.splitlines())
    # Those that say nothing are what the commands make of the rest of the line.
    spoken = ((flags, about) for flags, about in roff.options(vdsmsh.front()) if about)
    return [
        ("SYNOPSIS", "\n.br\n".join(roff.text(each) for each in lines)),
        ("COMMANDS", roff.prose(describes)),
        ("OPTIONS", roff.terms(spoken)),
    ]


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
