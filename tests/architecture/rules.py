"""The rules for the source, each a function from source text to its findings.

They are separate from the tests so that each rule is tested with a bad sample, too.
"""

from __future__ import annotations

import ast
import functools
import inspect
import io
import re
import tokenize
from collections.abc import Collection, Iterator

MODULE_LINES = 500
PUBLIC_METHODS = 20

#: Names of modules and packages that do not describe their content.
DRAWERS = {"common", "helper", "helpers", "lib", "misc", "tools", "util", "utils"}

#: Phrases that docstrings, comments and messages avoid: personification, pronouns for programs, inversions.
PHRASES = re.compile(
    r"(?<!\.)\b(tell(s|ing)?|told|hear(s|d)?|whoever|whomever|nobody|somebody|everybody|anybody|says\s+so"
    r"|of\s+before|as\s+may\s+be|comes?\s+to\s+(its|an|their)\s+end|knows\s+(no|nothing)"
    r"|of (libvirt|QEMU|VDSM|SQLite)'s(?= *[.,;:)]))\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"^```.*?^```|^(?: {4,}).*?$|`[^`\n]+`", re.MULTILINE | re.DOTALL)

#: Files outside of the rule about phrases -> reason.
UNPLAIN = {
    "tests/architecture/rules.py": "has the list of phrases",
    "tests/architecture/test_rules.py": "has samples of phrases",
    "CHANGELOG.md": "entries of earlier changes stay as they were written",
    "docs/howto/audit.md": "not reworded yet",
    "docs/reference/plugin-api.md": "not reworded yet",
    "plugins/http/README.md": "not reworded yet",
    "bench/attacks.py": "names the user nobody",
    "packaging/source.py": "names the user nobody",
    "tests/bridge/call/access/test_decision.py": "names the user nobody",
    "tests/bridge/daemon/test_account.py": "names the user nobody",
    "tests/bridge/tool/test_access_commands.py": "names the user nobody",
}
#: Folders outside of it, by the beginning of the path -> reason.
UNPLAIN_FOLDERS = {
    "packaging/tests/": "not reworded yet",
    "plugins/http/tests/": "not reworded yet",
}

# The slashes are split so that this file passes its own rule. Samples use joe's home folder.
_PLACES = re.compile("(?<![" + r"\w.~:-])/" + r"(home/(?!joe\b)\w|root/|work/|Users/\w)[\w./-]*")
_PACKAGE_HOSTS = re.compile(
    r"pypi\." + r"org|python" + r"hosted\.org|deb\." + r"debian\.org|(extra-)?index" + "-url"
)

Node = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def has_plain_language(name: str) -> bool:
    """Return whether the rule about phrases applies to a file."""
    return name not in UNPLAIN and not name.startswith(tuple(UNPLAIN_FOLDERS))


def too_long(source: str) -> str | None:
    """A module has at most 500 lines."""
    lines = len(source.splitlines())
    return f"{lines} lines, {MODULE_LINES} allowed" if lines > MODULE_LINES else None


def unplain(source: str) -> Iterator[str]:
    """Docstrings, comments and messages use plain technical English."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_text = token.type == tokenize.STRING and " " in token.string
        if (is_text or token.type == tokenize.COMMENT) and (found := PHRASES.search(token.string)):
            line = token.start[0] + token.string[: found.start()].count("\n")
            yield f"line {line}: '{found.group()}'"


def unplain_page(text: str) -> Iterator[str]:
    """Prose in Markdown uses plain technical English; code, in blocks or in a line, is not prose."""
    # Code is blanked, not removed: lines keep their numbers, and phrases of two lines are found.
    prose = _CODE.sub(lambda code: re.sub(r"[^\n]", "`", code[0]), text)
    for found in PHRASES.finditer(prose):
        line = prose.count("\n", 0, found.start()) + 1
        yield f"line {line}: '{' '.join(found.group().split())}'"


def wide_classes(source: str) -> Iterator[str]:
    """A class has at most 20 public methods, tests of a contract suite not counted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            methods = {
                item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            public = [name for name in methods if not name.startswith(("_", "test_"))]
            if len(public) > PUBLIC_METHODS:
                yield f"{node.name} has {len(public)} public methods, {PUBLIC_METHODS} allowed"


def too_wide(class_: type, packages: Collection[str]) -> str | None:
    """A class has at most 20 public methods, including those inherited from classes of these packages."""
    owners: dict[str, str] = {}
    for owner in class_.__mro__:
        if owner.__module__.partition(".")[0] in packages:
            for name, value in vars(owner).items():
                if _is_method(value) and not name.startswith(("_", "test_")):
                    owners.setdefault(name, owner.__name__)
    if len(owners) <= PUBLIC_METHODS:
        return None
    sources = ", ".join(dict.fromkeys(owners.values()))
    return f"{class_.__qualname__} has {len(owners)} public methods (of {sources}), {PUBLIC_METHODS} allowed"


def _is_method(value: object) -> bool:
    return inspect.isfunction(value) or isinstance(
        value, property | classmethod | staticmethod | functools.cached_property
    )


def classes_in(namespace: object) -> Iterator[type]:
    """Yield the classes that a module defines, nested ones included."""
    module = namespace.__name__ if inspect.ismodule(namespace) else getattr(namespace, "__module__", None)
    for value in vars(namespace).values():
        if inspect.isclass(value) and value.__module__ == module and value is not namespace:
            yield value
            yield from classes_in(value)


def imported(source: str) -> set[str]:
    """The top-level names of what a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def undocumented(source: str) -> Iterator[str]:
    """Every public module, class, function and method says what it is for."""
    tree = ast.parse(source)
    if tree.body and ast.get_docstring(tree) is None:
        yield "(module)"
    yield from _undocumented_members(tree, "")


def _undocumented_members(parent: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
    for node in parent.body:
        if isinstance(node, Node) and not node.name.startswith("_") and not _speaks_for_another(node):
            if ast.get_docstring(node) is None:
                yield f"{prefix}{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from _undocumented_members(node, f"{prefix}{node.name}.")


def _speaks_for_another(node: Node) -> bool:
    """Overloads and setters are documented where the one they belong to is."""
    names = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return bool(names & {"overload", "setter", "deleter"})


def unsorted_exports(source: str) -> Iterator[str]:
    """`__all__` is sorted: constants, classes, the rest; and names each thing once."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            if names != (right := sorted(set(names), key=_export_order)):
                yield f"__all__ should be {right}"


def _export_order(name: str) -> tuple[int, str]:
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


def drawers(parts: tuple[str, ...]) -> Iterator[str]:
    """The name of a module or package describes its content."""
    for part in parts:
        if part.removesuffix(".py").strip("_") in DRAWERS:
            yield f"'{part}' does not describe its content"


def private_facts(text: str) -> Iterator[str]:
    """No file has the folders of a person, or the host of a package index."""
    for pattern in (_PLACES, _PACKAGE_HOSTS):
        yield from (match[0] for match in pattern.finditer(text))


def named_verbs(source: str, names: Collection[str]) -> Iterator[str]:
    """No text in a binding names a verb: neither by itself, nor a full name within a sentence."""
    full = [name for name in names if "." in name]
    module = ast.parse(source)
    prose = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and id(node) not in prose and isinstance(node.value, str):
            text = node.value
            if text in names or any(name in text for name in full):
                yield text


#: Modules that may read the wall clock, and why. Everything else is a duration, which is monotonic.
WALL_CLOCK = {
    "vdsm_core/hypervisor/connection/reconnect.py": "since when the connection is up or down, shown",
    "vdsm_core/hypervisor/domains/sampler.py": "when a sample was taken, shown beside the monotonic time",
    "vdsm_core/events/bus.py": "when an event happened, kept and shown",
    "vdsm_core/events/journal.py": "age of events that outlives the daemon",
    "vdsm_core/events/numbers.py": "a number beyond all others",
    "vdsm_core/work/table.py": "when a task began and ended, kept and shown",
    "plugins/hooks/vdsm_hooks/runner.py": "when a script was started, shown",
    "plugins/virt/vdsm_virt/stats/moments.py": "when a watchdog fired, shown",
    "plugins/virt/vdsm_virt/guest/ovirt_agents.py": "when a user of a guest logged in or out, shown",
    "plugins/virt/vdsm_virt/domain/write/tickets.py": "when a password expires, sent to libvirt",
    "plugins/virt/vdsm_virt/machine/paused.py": "length of a pause, which outlives the daemon",
    "plugins/virt/vdsm_virt/jobs/snapshots/job.py": "time limits of a snapshot that outlive the daemon",
    "vdsm_bridge/base/job.py": "age of host jobs that outlives the daemon",
    "vdsm_core/database.py": "the name of a file that is set aside",
    "vdsm_bridge/call/idempotency.py": "age of request ids that outlives the daemon",
    "vdsm_bridge/call/access/decision.py": "whether credentials have expired, at a date",
    "vdsm_bridge/call/access/tokens.py": "when a token was created, kept and shown",
    "vdsm_bridge/call/audit.py": "when a call was made, kept",
    "vdsm_bridge/testing/certificates.py": "dates of certificates, which are of the calendar",
    "vdsm_bridge/tool/pki_authority.py": "dates of certificates, which are of the calendar",
    "plugins/qmf/vdsm_qmf/agent/agent.py": "QMF's timestamp of an object, sent",
    "plugins/qmf/vdsm_qmf/agent/inventory.py": "QMF's time at which an object was first seen, sent",
    "plugins/qmf/vdsm_qmf/agent/queries.py": "QMF's timestamp of an object, sent",
    "plugins/qmf/vdsm_qmf/agent/schema_cache.py": "QMF's time at which the schema changed, sent",
    "plugins/qmf/vdsm_qmf/agent/object_publisher.py": "QMF's time at which an object was deleted, sent",
    "plugins/qmf/vdsm_qmf/agent/identity.py": "epoch of the agent, part of its name on the bus",
    "plugins/qmf/vdsm_qmf/console/stream.py": "when an event happened, shown",
    "plugins/vdsmsh/vdsmsh/output/event_lines.py": "when an event happened, shown",
    "plugins/virt/vdsm_virt/stats/statistics.py": "age of timestamps that libvirt or the inventory has",
    "plugins/virt/vdsm_virt/create/launch_plan.py": "when a machine was created, kept with it",
    "plugins/virt/vdsm_virt/definitions/editor.py": "when a machine was adopted, kept with it",
    "plugins/virt/vdsm_virt/machine/runs.py": "when a run begins, kept over restarts of daemon and host",
    "plugins/virt/vdsm_virt/machine/processes.py": "when a process was started, shown",
    "plugins/virt/vdsm_virt/machine/inventory.py": "since when a machine has its status, shown",
    "plugins/virt/vdsm_virt/machine/transitions.py": "since when a machine has its status, shown",
    "plugins/virt/vdsm_virt/host/stats.py": "the time of the host, shown",
    "plugins/virt/vdsm_virt/host/sampler.py": "when a sample was taken, shown",
}
_CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


def wall_clocks(source: str) -> Iterator[str]:
    """Durations are monotonic: the wall clock is read for times that are shown or kept only."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            name = ".".join(ast.unparse(node).split(".")[-2:])
            if name in _CLOCKS:
                yield f"line {node.lineno}: {name}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (
                f"line {node.lineno}: time.{a.name}" for a in node.names if f"time.{a.name}" in _CLOCKS
            )
