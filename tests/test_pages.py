"""The pages that people write: what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vdsm_bridge.base.host import verb_info
from vdsm_bridge.tool import installed
from vdsm_core import types
from vdsmsh.api.catalogue import Catalogue
from vdsmsh.api.command_names import BUILTIN, Commands

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "plugins/*/README.md", "examples/*/README.md")
    for path in ROOT.glob(pattern)
)
#: First words of verbs that a page has its reader write, or that stand for any plugin's.
INVENTED = {"lamp", "light", "lights"}
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
#: Options of vdsmsh with their values, then the words of a command.
_COMMAND = re.compile(
    r"(?<![\w./-])vdsmsh((?: --(?:url|bus|host) \S+| --all)*) ([a-z][\w-]*)(?: ([a-z][\w-]*))?"
)


def anchors(page: Path) -> set[str]:
    """What a link may name on a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links(page: Path) -> None:
    """Every link within the project has its file, and its heading there."""
    dead = []
    prose = re.sub(r"`[^`\n]*`", "", (ROOT / page).read_text("utf-8"))
    for path, anchor in _LINK.findall(prose):
        target = ((ROOT / page).parent / path) if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(f"{path}#{anchor}")
    assert dead == []


def test_commands_of_the_shell() -> None:
    """Every `vdsmsh` command that a page shows is one."""
    described = [types.builtins(verb_info(verb)) for verb in installed.read().verbs.values()]
    groups = Commands(Catalogue("", described)).groups()
    shown, unknown = 0, []
    for page in PAGES:
        for line in re.findall(
            r"^    .*|`[^`\n]+`|^vdsmsh .*", (ROOT / page).read_text("utf-8"), re.MULTILINE
        ):
            for _, first, second in _COMMAND.findall(line):
                shown += 1
                known = (
                    first in BUILTIN or second in groups.get(first, ()) or (not second and first in groups)
                )
                if not known and first not in INVENTED:
                    unknown.append(f"{page}: {first} {second}")
    assert unknown == []
    assert shown > 40


def test_readme_leads_to_every_guide() -> None:
    """README names each page for people, each example and each kind of reference; it stays one screen."""
    readme = (ROOT / "README.md").read_text("utf-8")
    guides = [*ROOT.glob("docs/howto/*.md"), *ROOT.glob("docs/tutorial/*.md")]
    examples = [path for path in ROOT.glob("examples/*") if (path / "pyproject.toml").exists()]
    missing = [path.name for path in (*guides, *examples) if str(path.relative_to(ROOT)) not in readme]
    assert missing == []
    assert len(readme.splitlines()) <= 60
