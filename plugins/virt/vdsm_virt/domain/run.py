"""What the domain of a machine remembers of its newest run, in an element of its own.

A run begins when QEMU is started and ends with it. libvirt has two documents of a running domain: that of the
running machine, which ends with QEMU, and the persistent definition, from which the next one is copied. The
mark of a run is in both, but `live` is set in the first alone. So a running domain without a live mark is a
run that no daemon has seen the beginning of, whatever an earlier run has left in the definition; and a mark
without an exit in the definition of a machine that is off is a run whose end no daemon has seen.
"""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element, register_namespace

import msgspec

from vdsm_virt.domain.elements import to_text
from vdsm_virt.domain.metadata import Exit, ascii_json

#: The name of the element's namespace, and the prefix that it is written with.
URI: Final = "urn:vdsm:run:1"
PREFIX: Final = "vdsmrun"
_TAG: Final = f"{{{URI}}}run"

register_namespace(PREFIX, URI)


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run of a machine. Times are Unix times in seconds; 0 where there is none.

    :ivar started: when the guest began to run; a machine keeps it when it is migrated
    :ivar boot_id: the kernel's id of the boot of the host in which the run began or arrived
    :ivar live: in the document of the running machine: the run goes on
    :ivar asked: what was asked of the guest, until `asked_until`
    :ivar asked_until: when a request counts as not complied with
    :ivar pause_code: VDSM's reason for the pause of a paused machine, empty of any other
    :ivar paused_at: when the machine was paused
    :ivar destroy_on_reboot: the machine is destroyed when its guest reboots
    :ivar exit: how the run ended; None while it goes on, or if that is not known
    :ivar ended_as: libvirt's word for the end that `exit` was made of; empty if it had none
    """

    started: float = 0.0
    boot_id: str = ""
    live: bool = False
    asked: str = ""
    asked_until: float = 0.0
    pause_code: str = ""
    paused_at: float = 0.0
    destroy_on_reboot: bool = False
    exit: Exit | None = None
    ended_as: str = ""

    def to_store(self) -> Run:
        """Return what the persistent definition has of it: what ends with QEMU is left out."""
        return msgspec.structs.replace(self, live=False, pause_code="", paused_at=0.0)


def write_text(run: Run) -> str:
    """Return the element as XML, to which libvirt adds namespace and prefix."""
    element = Element("run")
    element.text = ascii_json(msgspec.to_builtins(run))
    return to_text(element)


def read(domain: Element) -> Run | None:
    """Return the mark in a domain document; None if there is none, or none that can be understood."""
    text = domain.findtext(f"metadata/{_TAG}")
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=Run)
    except msgspec.MsgspecError:
        return None


def drop(domain: Element) -> None:
    """Remove the mark of another run from a document that a machine is made of."""
    place = domain.find("metadata")
    for mark in place.findall(_TAG) if place is not None else []:
        place.remove(mark)  # type: ignore[union-attr]
