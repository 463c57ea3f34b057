"""An example of a third-party plugin: two verbs, a task, an event, options. The hook is in `hooks`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from msgspec import Meta

from vdsm_bridge import Feature, Namespace, Options, Progress, Runtime, action, query, task
from vdsm_bridge.events import EventParams

Name = Annotated[str, Meta(min_length=1, max_length=64, description="The name to greet.")]


class HelloOptions(Options, frozen=True):
    """`[plugin.hello]`"""

    #: The first word of every greeting.
    salutation: str = "Hello"


class Greeted(EventParams, frozen=True):
    """A greeting was sent."""

    component: ClassVar[str] = "hello"
    operation: ClassVar[str] = "greeted"
    name: str


class Greeting(Namespace, plural="greeting"):
    """Friendly words from the host."""

    def __init__(self, runtime: Runtime, options: HelloOptions) -> None:
        self._runtime = runtime
        self._options = options

    @query(since="1.0")
    def get_words(self, name: Name = "world") -> str:
        """Return the text of a greeting.

        :param name: the name to greet
        """
        return f"{self._options.salutation}, {name}!"

    @action(since="1.0")
    def greet(self, name: Name) -> str:
        """Send a greeting, and publish an event.

        :param name: the name to greet
        """
        self._runtime.events.publish(Greeted(name=name))
        return self.get_words(name)

    @task(since="1.0")
    def greet_all(self, names: list[Name], progress: Progress) -> list[str]:
        """Send several greetings, one after the other.

        :param names: the names to greet
        """
        greetings = []
        for number, name in enumerate(names):
            progress.report(100 * number // len(names), f"greeting {name}")
            greetings.append(self.greet(name))
        return greetings


class Hello(Feature):
    """The feature `hello`, as the entry point names it."""

    Config = HelloOptions
    plugin_api = 1

    def namespaces(self) -> Sequence[Namespace]:
        """`Greeting`."""
        return [Greeting(self.runtime, self.config)]
