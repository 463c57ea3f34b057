"""A small feature with every kind of verb, type and error, for the contract suite.

It uses the plugin API only, like a plugin of a third party.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action, no_locks, query, task
from vdsm_bridge.api.marks import Marks
from vdsm_bridge.call.context import Context
from vdsm_bridge.plugins.feature import Feature, Runtime
from vdsm_bridge.testing.racks import Contents, DrawerNamespace, RackNamespace, Racks
from vdsm_core.errors import Conflict, NotFound, VdsmError
from vdsm_core.events import EventParams
from vdsm_core.secret import Secret
from vdsm_core.types import (
    UUID,
    Open,
    Record,
    Request,
    Text1f,
    Text2f,
    TextBool,
    TextInt,
    TextUint,
    TitleBool,
)
from vdsm_core.work.steps import Progress

Colour = Literal["red", "green", "blue"]


class NoSuchLamp(NotFound):
    """No lamp has this id. Facts: `lamp_id`."""

    slug = "no-such-lamp"
    template = "There is no lamp '{lamp_id}'"


class LampExists(Conflict):
    """A lamp has this id or name already. Facts: `lamp_id`."""

    slug = "lamp-exists"
    code = 4002
    template = "There is a lamp '{lamp_id}' already"


class WrongCode(Conflict):
    """The code is not that of the lamp. Facts: `lamp_id`."""

    slug = "wrong-code"
    template = "The code is not that of lamp '{lamp_id}'"


class LockCode(Secret, max_length=64):
    """The code of a lamp's lock."""


class LampSpec(Request, frozen=True):
    """The part of a new lamp's description that is known; further members are kept."""

    lamp_id: UUID = msgspec.field(name="lampID")
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    colour: Colour = "red"
    watts: Annotated[int, Meta(ge=0, le=10_000)] = 10


class LampParams(Open[LampSpec]):
    """A new lamp's description; members that are not known are kept."""


class Lamp(Record, frozen=True):
    """A lamp."""

    lamp_id: UUID = msgspec.field(name="lampID")
    name: str
    colour: Colour
    watts: int
    lit: bool
    hours: int
    note: str | msgspec.UnsetType = msgspec.UNSET
    marks: list[str] = []
    custom: dict[str, Any] = {}


class Spellings(Record, frozen=True):
    """One value of each kind, with the spellings of text protocols."""

    whole: int
    big: int
    fraction: float
    flag: bool
    text: str
    text_int: TextInt
    text_uint: TextUint
    text_bool: TextBool
    title_bool: TitleBool
    two_places: Text2f
    one_place: Text1f
    words: list[str]
    nested: dict[str, list[int]]
    absent: int | msgspec.UnsetType = msgspec.UNSET


class LampSwitched(EventParams, frozen=True):
    """A lamp was lit or put out."""

    component: ClassVar[str] = "sample"
    operation: ClassVar[str] = "switched"
    about: ClassVar[str] = "lamp"
    lit: bool


#: What does not wait for a task on its lamp.
_BESIDE: Final = ("Lamp.switch", "Lamp.engrave", "Lamp.lock", "Lamp.unlock")


def _burning(arguments: Mapping[str, Any], verb: str) -> VdsmError | None:
    """Refuse to take a lamp down that burns. Other verbs that are not beside it wait."""
    return Conflict(reason=f"lamp {arguments['lamp_id']} burns") if verb == "Lamp.remove" else None


class LampNamespace(Namespace, name="Lamp", key="lampID", plural="lamps", listed_by="Lamp.list"):
    """A lamp in the machine room."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._lamps: dict[str, Lamp] = {}
        self._codes: dict[str, LockCode] = {}

    def marks_of(self, object_id: str) -> Marks | None:
        """Return the tags of a lamp: the words of its custom member `tags`."""
        lamp = self._lamps.get(object_id.lower())
        return None if lamp is None else Marks(frozenset(str(lamp.custom.get("tags", "")).split()))

    @query(since="1.0", name="list", part="list")
    def all(self) -> list[Lamp]:
        """Every lamp."""
        return list(self._lamps.values())

    @query(since="1.0", part="get")
    def get_info(self, lamp_id: UUID) -> Lamp:
        """One lamp.

        :raises NoSuchLamp: none has this id
        """
        return self._get(lamp_id)

    @action(since="1.0", part="create")
    def create(self, lamp: LampParams) -> Lamp:
        """Hang up a lamp.

        :param lamp: its description; members that are not known are kept
        :returns: the lamp
        :raises LampExists: its id is taken
        """
        with self._lock:
            known = lamp.known
            if known.lamp_id in self._lamps:
                raise LampExists(lamp_id=known.lamp_id)
            made = Lamp(
                lamp_id=known.lamp_id,
                name=known.name,
                colour=known.colour,
                watts=known.watts,
                lit=False,
                hours=0,
                custom=lamp.unknown,
            )
            self._lamps[known.lamp_id] = made
            return made

    @action(since="1.0", part="delete")
    def remove(self, lamp_id: UUID) -> None:
        """Take a lamp down.

        :raises NoSuchLamp: none has this id
        :raises Conflict: it burns
        """
        with self._lock:
            self._get(lamp_id)
            del self._lamps[lamp_id]

    @action(since="1.0")
    def switch(self, lamp_id: UUID, lit: bool, note: str = "") -> Lamp:
        """Light a lamp or put it out.

        :param lit: whether it shall be lit
        :param note: written on the lamp
        :raises NoSuchLamp: none has this id
        """
        with self._lock:
            lamp = msgspec.structs.replace(self._get(lamp_id), lit=lit, note=note or msgspec.UNSET)
            self._lamps[lamp_id] = lamp
        self._runtime.events.publish(LampSwitched(lit=lit), lamp_id)
        return lamp

    @action(since="1.0")
    def engrave(self, lamp_id: UUID, text: str, pause: Annotated[float, Meta(ge=0, le=2)] = 0.0) -> Lamp:
        """Write a mark on a lamp, below those that it has.

        :param pause: seconds that it takes
        :raises NoSuchLamp: none has this id, or it was smashed meanwhile
        """
        self._get(lamp_id)
        time.sleep(pause)
        with self._lock:
            lamp = self._get(lamp_id)
            lamp = msgspec.structs.replace(lamp, marks=[*lamp.marks, text])
            self._lamps[lamp_id] = lamp
            return lamp

    @action(since="1.0")
    def lock(self, lamp_id: UUID, code: LockCode) -> Lamp:
        """Lock a lamp.

        :param code: unlocks it
        :raises NoSuchLamp: none has this id
        """
        with self._lock:
            lamp = self._get(lamp_id)
            self._codes[lamp_id] = code
            return lamp

    @action(since="1.0")
    def unlock(self, lamp_id: UUID, code: LockCode) -> Lamp:
        """Unlock a lamp.

        :param code: the code that it was locked with
        :raises NoSuchLamp: none has this id
        :raises WrongCode: it was locked with another code, or not locked
        """
        with self._lock:
            lamp = self._get(lamp_id)
            if self._codes.get(lamp_id) != code:
                raise WrongCode(lamp_id=lamp_id)
            del self._codes[lamp_id]
            return lamp

    @task(since="1.0", locks=no_locks)
    def recode(
        self,
        lamp_id: UUID,
        code: LockCode,
        progress: Progress,
        pause: Annotated[float, Meta(ge=0, le=10)] = 0.01,
    ) -> Lamp:
        """Lock a lamp with another code. The lock takes its time.

        :param code: unlocks it from now on
        :param pause: seconds of real time
        :raises NoSuchLamp: none has this id
        """
        progress.sleep(pause)
        return self.lock(lamp_id, code)

    @action(since="1.0", preempts=True)
    def smash(self, lamp_id: UUID) -> None:
        """Break a lamp at once, preempting other work on it.

        :raises NoSuchLamp: none has this id
        """
        with self._lock:
            self._get(lamp_id)
            del self._lamps[lamp_id]

    @task(since="1.0", revert="unburn", beside=_BESIDE, refuses=_burning)
    def burn(
        self,
        lamp_id: UUID,
        progress: Progress,
        hours: Annotated[int, Meta(ge=1, le=1000)] = 3,
        pause: Annotated[float, Meta(ge=0, le=10)] = 0.01,
    ) -> Lamp:
        """Let a lamp burn for some hours.

        :param hours: how many
        :param pause: seconds of real time for each of them
        :raises NoSuchLamp: none has this id
        """
        for hour in range(hours):
            progress.report(100 * hour // hours, f"hour {hour}")
            progress.sleep(pause)
            self._age(lamp_id, 1)
        return self._get(lamp_id)

    def unburn(self, lamp_id: str, hours: int, pause: float) -> None:  # noqa: ARG002 - the arguments of `burn`
        """Roll `burn` back."""
        self._age(lamp_id, -hours)

    def _age(self, lamp_id: str, hours: int) -> None:
        with self._lock:
            lamp = self._get(lamp_id)
            self._lamps[lamp_id] = msgspec.structs.replace(lamp, hours=lamp.hours + hours)

    def _get(self, lamp_id: str) -> Lamp:
        try:
            return self._lamps[lamp_id]
        except KeyError:
            raise NoSuchLamp(lamp_id=lamp_id) from None


class Room(Namespace, name="Room", plural="room"):
    """The machine room: a singleton with verbs that show types and errors."""

    @query(since="1.0")
    def get_spellings(self, big: int = 2**40) -> Spellings:
        """One value of each kind.

        :param big: any whole number of 64 bits
        """
        return Spellings(
            whole=7,
            big=big,
            fraction=0.5,
            flag=True,
            text='a<b>&"c" \u00e4\u20ac\U0001f600',
            text_int=-3,
            text_uint=2**63,
            text_bool=True,
            title_bool=False,
            two_places=1.005,
            one_place=2.25,
            words=["x", ""],
            nested={"k": [1, 2]},
        )

    @query(since="1.0", access="admin")
    def whisper(self, context: Context) -> str:
        """Return the caller's own name; for admins only."""
        return context.identity.name

    @action(since="1.0")
    def break_down(self) -> None:
        """Fail as only a bug does."""
        raise ZeroDivisionError("the sample has a bug here on purpose")

    @query(since="1.0")
    def add(self, left: int, right: int = 1) -> int:
        """The sum of two whole numbers.

        :param left: the first
        :param right: the second
        """
        return left + right


class Sample(Feature):
    """The feature `sample`."""

    def namespaces(self) -> Sequence[Namespace]:
        """`Lamp` and `Room`; `Rack`, and `Drawer` in two groups."""
        racks = Racks()
        nested = [RackNamespace(racks), DrawerNamespace(racks), Contents(racks)]
        return [LampNamespace(self.runtime), Room(), *nested]
