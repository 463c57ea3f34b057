"""Every operation that is installed, and the samples, with arguments as an attacker would choose them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.core.privileged import sample
from vdsm_bridge.testing import privileged as kit
from vdsm_core.errors import InvalidArgument
from vdsm_core.plugins import PRIVILEGED, discover
from vdsm_core.privileged import Entry, Operation, operations_of
from vdsm_core.privileged.arguments import Located
from vdsm_core.privileged.frames import Request, failure_of
from vdsm_core.privileged.server.dispatch import Dispatcher
from vdsm_core.privileged.server.registry import Registry

MODULES = {"sample": sample} | {plugin.name: plugin.loaded for plugin in discover(PRIVILEGED)}
OPERATIONS = {
    f"{plugin}.{each.name}": each for plugin, module in MODULES.items() for each in operations_of(module)
}


def test_the_operations_of_this_repository_are_among_them() -> None:
    """The walk below is no walk of nothing."""
    pytest.importorskip("vdsm_virt")
    assert {"virt.read_firmware", "virt.read_libvirt_settings", "sample.remove"} <= set(OPERATIONS)


class Watch:
    """What reaches the function of an operation."""

    def __init__(self, operation: Operation[..., Any]) -> None:
        self.reached: list[dict[str, Any]] = []
        self.operation = kit.watched(operation, self._run)

    def _run(self, **values: Any) -> None:
        self.reached.append(values)


@pytest.mark.parametrize("name", OPERATIONS)
def test_hostile_arguments_are_refused(name: str) -> None:
    """The operation is not reached; the error is a typed one that names the parameter."""
    watch = Watch(OPERATIONS[name])
    registry = Registry()
    registry.operations[name] = watch.operation
    dispatcher = Dispatcher(registry, 0)
    begun: list[object] = []
    for call in kit.hostile_calls(watch.operation):
        reply = dispatcher.answer(Request(1, name, call.arguments, "test", "", 1.0), begun.append)
        assert reply.kind == "failed", call[:2]
        failure = failure_of(reply)
        assert failure.slug == InvalidArgument.slug, (call[:2], failure)
        if call.parameter and call.danger != "a lone surrogate":
            assert failure.facts["argument"] == call.parameter, call[:2]
    assert (watch.reached, begun) == ([], [])


@pytest.mark.parametrize("name", [name for name, each in OPERATIONS.items() if not each.paths])
def test_fit_arguments_are_accepted(name: str) -> None:
    """The values beside the hostile one are no reason to refuse: all fit, the operation is reached."""
    watch = Watch(OPERATIONS[name])
    watch.operation.capability_mask = 0
    registry = Registry()
    registry.operations[name] = watch.operation
    fit = kit.sample(watch.operation.arguments_type)
    arguments = kit.msgspec.msgpack.encode(fit)
    Dispatcher(registry, 0).answer(Request(1, name, arguments, "test", "", 1.0), lambda _: None)
    assert len(watch.reached) == 1


@contextmanager
def swapping(link: Path, target: Path) -> Iterator[None]:
    """Let a folder be a folder and a link to another one, in turn, all the time."""
    folder, away = link.with_name("folder.kept"), threading.Event()
    link.mkdir(exist_ok=True)
    (link / "name").write_text("inside")

    def swap() -> None:
        while not away.is_set():
            link.rename(folder)
            link.symlink_to(target)
            link.unlink()
            folder.rename(link)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        away.set()
        thread.join()


PATHS = [(name, path) for name, each in OPERATIONS.items() for path in each.paths]


@pytest.mark.parametrize("by_kernel", [True, False], ids=["openat2", "steps"])
@pytest.mark.parametrize(("name", "parameter"), PATHS)
def test_links_that_are_swapped_meanwhile_lead_nowhere(
    name: str, parameter: str, by_kernel: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever a call is let in, its descriptor lies beneath the root, and reads what is inside."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "name").write_text("outside")
    if not by_kernel:
        refuse_openat2(monkeypatch)
    operation = OPERATIONS[name]
    seen: list[tuple[str, str]] = []

    def look(**values: Any) -> None:
        located: Located = values[parameter]
        seen.append((read_through(located), str(Path(f"/proc/self/fd/{located.descriptor}").readlink())))

    registry = Registry()
    twin = registry.operations[name] = kit.watched(operation, look)
    twin.capability_mask = 0
    dispatcher = Dispatcher(registry, 0, {twin.paths[parameter].within.root: str(root)})
    fields = kit.msgspec.structs.fields(twin.arguments_type)
    values = ["folder/name" if each.name in twin.paths else kit.sample(each.type) for each in fields]
    arguments = kit.msgspec.msgpack.encode(values)
    refused = 0
    with swapping(root / "folder", outside):
        while len(seen) < 60 or refused < 5:
            reply = dispatcher.answer(Request(1, name, arguments, "test", "", 1.0), lambda _: None)
            refused += reply.kind == "failed"
    assert {text for text, _ in seen} == {"inside"}
    assert [place for _, place in seen if not place.startswith(f"{root}/")] == []


def read_through(located: Located) -> str:
    """What the operation would read."""
    if not isinstance(located, Entry):
        return Path(f"/proc/self/fd/{located.descriptor}").read_text()
    file = os.open(located.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=located.folder)
    try:
        return os.read(file, 100).decode()
    finally:
        os.close(file)


def refuse_openat2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel be one without openat2."""

    def missing(*_: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("vdsm_core.privileged.server.resolve.by_kernel", missing)


@pytest.mark.parametrize("by_kernel", [True, False], ids=["openat2", "steps"])
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("link/name", "leads through a link"),
        ("link", "leads through a link"),
        ("proc", "leads through a link"),
        ("missing", "No such file"),
        ("file/name", "a link or a file"),
        ("pipe", "neither a file nor a folder"),
        ("folder", None),
        ("folder/name", None),
    ],
)
def test_what_is_opened(
    path: str, said: str | None, by_kernel: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and folders beneath the root; no link, no pipe, nothing that is not there."""
    if not by_kernel:
        refuse_openat2(monkeypatch)
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "name").write_text("inside")
    (root / "file").write_text("inside")
    (root / "link").symlink_to("folder")
    (root / "proc").symlink_to("/proc/self/root")
    os.mkfifo(root / "pipe")
    helper = kit.InProcess("sample", sample, {sample.ROOT: str(root)})
    if said is None:
        assert helper.run(sample.read, sample.Opened(path)) == b"inside" if path != "folder" else True
    else:
        with pytest.raises(InvalidArgument, match=said):
            helper.run(sample.read, sample.Opened(path))


def test_an_entry_is_removed_itself(tmp_path: Path) -> None:
    """A link of the name goes, not what it leads to."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "kept").write_text("kept")
    (root / "link").symlink_to(tmp_path / "kept")
    kit.InProcess("sample", sample, {sample.ROOT: str(root)}).run(sample.remove, Entry("link"))
    assert list(root.iterdir()) == []
    assert (tmp_path / "kept").read_text() == "kept"
