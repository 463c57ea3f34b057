"""`kill -9` of the daemon and of libvirt at random moments of random operations on a real guest."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import soak
from tests.functional.lab import BootFiles, LabHost
from tests.functional.live import VIRT, LiveSite, live_site
from tests.functional.recovery import Subject

pytestmark = [pytest.mark.functional, pytest.mark.slow, pytest.mark.soak]

ROUNDS = soak.count(6)


@pytest.fixture
def site(lab: None, boot: BootFiles, tmp_path: Path) -> Iterator[LiveSite]:
    """A daemon on a libvirtd of this test's own: both are killed."""
    virt = f'{VIRT}release_timeout = 5\nkept_custom = ["purpose"]\n'
    with LabHost.open() as host, live_site(host, boot, tmp_path, virt=virt) as site:
        yield site


def test_random_kills(site: LiveSite, capsys: pytest.CaptureFixture[str]) -> None:
    """The guest runs on and is found with its metadata; work ends, and nothing unused stays prepared."""
    subject = Subject(site, soak.chance("recovery"))
    for number in range(2 * ROUNDS):
        if subject.kills == ROUNDS:
            break
        try:
            subject.round()
        except BaseException:
            with capsys.disabled():
                done = "\n".join(subject.history[-5:])
                sys.stdout.write(f"\nround {number} of seed {soak.SEED}:\n{done}\n{site.daemon.log()}\n")
            raise
    with capsys.disabled():
        counts = ", ".join(f"{name}: {count}" for name, count in sorted(subject.counts.items()))
        sys.stdout.write(f"\n{ROUNDS} kills, seed {soak.SEED}: {counts}\n")
    assert subject.kills == ROUNDS
