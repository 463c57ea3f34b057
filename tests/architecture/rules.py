"""The rules of the house, each a function from source text to what is wrong with it.

Kept apart from the tests so that each rule is tried on a bad sample, too: a rule that cannot fail guards
nothing.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Collection, Iterator

MODULE_LINES = 500
PUBLIC_METHODS = 20

#: Drawers: names that do not tell what lives there.
DRAWERS = {"common", "helper", "helpers", "lib", "misc", "tools", "util", "utils"}

# The slashes stand apart so that this file keeps its own rule. joe is nobody: samples use his home.
_PLACES = re.compile("(?<![" + r"\w.~:-])/" + r"(home/(?!joe\b)\w|root/|work/|Users/\w)[\w./-]*")
_PACKAGE_HOSTS = re.compile(
    r"pypi\." + r"org|python" + r"hosted\.org|deb\." + r"debian\.org|(extra-)?index" + "-url"
)

Node = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def too_long(source: str) -> str | None:
    """A module has at most 500 lines."""
    lines = len(source.splitlines())
    return f"{lines} lines, {MODULE_LINES} allowed" if lines > MODULE_LINES else None


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
    """A module's or package's name tells what lives there."""
    for part in parts:
        if part.removesuffix(".py").strip("_") in DRAWERS:
            yield f"'{part}' does not tell what lives there"


def private_facts(text: str) -> Iterator[str]:
    """No file tells where somebody works, or where packages come from."""
    for pattern in (_PLACES, _PACKAGE_HOSTS):
        yield from (match[0] for match in pattern.finditer(text))


#: Modules that may read the wall clock, and why. Everything else is a duration, which is monotonic.
WALL_CLOCK = {
    "vdsm_core/hypervisor/connection/reconnect.py": "since when the connection is up or down, shown",
    "vdsm_core/hypervisor/domains/sampler.py": "when a sample was taken, shown beside the monotonic time",
    "vdsm_core/events/bus.py": "when an event happened, kept and shown",
    "vdsm_core/events/journal.py": "age of events that outlives the daemon; a number beyond all others",
    "vdsm_core/work/table.py": "when a task began and ended, kept and shown",
    "vdsm_core/database.py": "the name of a file that is set aside",
    "vdsm_bridge/call/idempotency.py": "age of request ids that outlives the daemon",
    "vdsm_bridge/call/audit.py": "when a call was made, kept",
    "plugins/qmf/vdsm_qmf/agent/agent.py": "QMF's timestamp of an object, sent",
    "plugins/qmf/vdsm_qmf/agent/inventory.py": "QMF's time at which an object was first seen, sent",
    "plugins/qmf/vdsm_qmf/agent/queries.py": "QMF's timestamp of an object, sent",
    "plugins/qmf/vdsm_qmf/agent/schemas.py": "QMF's time at which the schema changed, sent",
    "plugins/qmf/vdsm_qmf/agent/watch.py": "QMF's time at which an object was deleted, sent",
    "plugins/qmf/vdsm_qmf/agent/identity.py": "epoch of the agent, part of its name on the bus",
    "plugins/qmf/vdsm_qmf/console/stream.py": "when an event happened, shown",
    "plugins/vdsmsh/vdsmsh/eventlines.py": "when an event happened, shown",
    "plugins/virt/vdsm_virt/stats/statistics.py": "age of timestamps that libvirt or the inventory has",
    "plugins/virt/vdsm_virt/create/launch.py": "since when a machine has its status, shown",
    "plugins/virt/vdsm_virt/create/launch_plan.py": "when a machine was created, kept with it",
    "plugins/virt/vdsm_virt/machine/inventory.py": "since when a machine has its status, shown",
    "plugins/virt/vdsm_virt/machine/transitions.py": "since when a machine has its status, shown",
    "plugins/virt/vdsm_virt/machine/watcher.py": "since when a machine has its status, shown",
    "plugins/virt/vdsm_virt/host/stats.py": "the time of the host, shown",
    "plugins/virt/vdsm_virt/host/sampler.py": "when a sample was taken, shown",
    "plugins/virt/vdsm_virt/create/incoming.py": "since when a machine is expected, shown",
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
