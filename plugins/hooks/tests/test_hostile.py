"""Hostile scripts: each ends in an error that names it, and nothing of it is left."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_hooks.errors import HookScriptFailed

pytestmark = pytest.mark.usefixtures("nothing_left")

#: It ends with 3, or `sh` with 2, if the limit of the account was reached first, and with 0 if all ran.
BOMB = """\
b() { if [ $1 = 0 ]; then echo >> $TMPDIR/leaves; sleep 10; else b $(($1-1)) & b $(($1-1)) & wait; fi; }
b 6
touch $TMPDIR/leaves
test $(wc -l < $TMPDIR/leaves) = 64 || exit 3
"""
#: By name: the script, seconds that it has, and the reason of the error.
HOSTILE = {
    # Finite, 127 processes for 10 s: a limit that does not hold must not take the machine that tests it.
    "fork bomb": (
        BOMB,
        30.0,
        r"it started more than 16 processes|ended with code 3|ended with code 2.*[Ff]ork",
    ),
    "endless loop": ("while :; do :; done", 1.0, r"it took longer than .* s"),
    "ignores signals": ("trap '' TERM INT HUP\nwhile :; do sleep 1; done", 1.0, r"it took longer than"),
    "100 MB on stderr": (
        "head -c 100000000 /dev/zero >&2",
        30.0,
        r"more than 16777216 bytes",
    ),
    "garbage": ("head -c 1000 /dev/urandom > $_hook_domxml", 30.0, r"not UTF-8|no well-formed XML"),
    "everything closed": ("exec 0<&- 1>&- 2>&-\nsleep 60", 1.0, r"it took longer than"),
    "removes its document": ("rm $_hook_domxml", 30.0, r"cannot be read back: No such file"),
    "document is a link": ("ln -sf /etc/passwd $_hook_domxml", 30.0, r"cannot be read back"),
    "document is a pipe": ("rm $_hook_domxml; mkfifo $_hook_domxml", 30.0, r"no regular file"),
    "document is a folder": ("rm $_hook_domxml; mkdir $_hook_domxml", 30.0, r"cannot be read back"),
    "document is huge": (
        "head -c 2000000 /dev/zero > $_hook_domxml",
        30.0,
        r"ended|read",
    ),
    "locked folder": ("mkdir -p $TMPDIR/a/b; chmod 0 $TMPDIR/a; exit 1", 30.0, r"ended with code 1"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_script(site, kind):
    """The error names point and script, and is in the record."""
    text, site.seconds, reason = HOSTILE[kind]
    marker = f"hostile-{os.getpid()}-{time.monotonic_ns()}"
    site.script("before_vm_start", "50_bad", f": {marker}\n{text}")
    with pytest.raises(HookScriptFailed, match=f"(?s)before_vm_start/50_bad failed: .*({reason})"):
        site.run("before_vm_start", fromstring("<x/>"))
    assert site.last().script == "50_bad"
    assert len(site.last().stderr) <= 8192
    assert _running(str(site.root)) == []


def test_a_daemon_of_a_script_is_ended(site):
    """Also one in a session of its own, whose parent has ended; the script itself succeeds."""
    beat = site.files / "beat"
    site.script(
        "before_vm_start",
        "50_daemon",
        f"(setsid sh -c 'echo $$ > {beat}; while :; do sleep 0.05; done' > /dev/null 2>&1 &) \n"
        f"while ! test -s {beat}; do sleep 0.01; done",
    )
    site.run("before_vm_start", fromstring("<x/>"))
    pid = int(beat.read_text())
    beat.unlink()
    assert not Path(f"/proc/{pid}").exists()


def test_a_script_that_is_removed_meanwhile(site):
    """An earlier one removes it: an error that names it; so does a whole folder that is gone."""
    site.script("before_vm_start", "10_first", f"rm {site.root}/before_vm_start/50_gone")
    site.script("before_vm_start", "50_gone", "true")
    with pytest.raises(HookScriptFailed, match="50_gone failed: No such file"):
        site.run("before_vm_start", fromstring("<x/>"))
    shutil.rmtree(site.root)
    site.run("before_vm_start", fromstring("<x/>"))


def test_what_cannot_be_executed(site):
    """No '#!' and no program; an interpreter that is not there; not executable any more."""
    path = site.script("before_vm_start", "50_plain", "true")
    path.write_text("just text\n")
    with pytest.raises(HookScriptFailed, match="50_plain failed: it has no line '#!' and is no program"):
        site.run("before_vm_start", fromstring("<x/>"))
    path.write_text("#!/no/interpreter\n")
    with pytest.raises(HookScriptFailed, match="50_plain failed: No such file"):
        site.run("before_vm_start", fromstring("<x/>"))
    site.script(
        "before_vm_start", "10_first", f"cp {path} $TMPDIR/x; chmod 644 $TMPDIR/x; mv $TMPDIR/x {path}"
    )
    path.write_text("#!/bin/sh\n")
    with pytest.raises(HookScriptFailed, match="50_plain failed: Permission denied"):
        site.run("before_vm_start", fromstring("<x/>"))


def test_a_link_out_of_the_folder(site, tmp_path):
    """Is refused by name; one within the folder is followed."""
    outside = tmp_path / "outside"
    outside.write_text("#!/bin/sh\n")
    outside.chmod(0o755)
    site.script("before_vm_start", "10_own", "true")
    (site.root / "before_vm_start" / "20_link").symlink_to("10_own")
    site.run("before_vm_start", fromstring("<x/>"))
    (site.root / "before_vm_start" / "50_link").symlink_to(outside)
    with pytest.raises(HookScriptFailed, match="50_link failed: it is a link that leads out of"):
        site.run("before_vm_start", fromstring("<x/>"))
    (site.root / "before_vm_start" / "50_link").unlink()
    (site.root / "before_vm_start" / "60_link").symlink_to("nothing")
    with pytest.raises(HookScriptFailed, match="60_link failed: No such file"):
        site.run("before_vm_start", fromstring("<x/>"))


def _running(word: str) -> list[str]:
    """Command lines of processes that have a word."""

    def found() -> list[str]:
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if word in line:
                lines.append(line)
        return lines

    until(lambda: not found(), 10)
    return found()
