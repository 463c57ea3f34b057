"""The interactive shell: the commands without their first word, with history and completion.

Lines from a pipe are carried out as they come; the first one that fails ends it, as in a script.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completion
from prompt_toolkit.completion import Completer as PromptCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory

from vdsmsh import dispatch
from vdsmsh.completion import Completer, split, start_of_last_word
from vdsmsh.failures import Exit, UsageError
from vdsmsh.main import guarded
from vdsmsh.session import Session
from vdsmsh.settings import Settings

_LEAVE = frozenset({"exit", "quit"})
_GREETING = (
    "Commands are those of `vdsmsh --help`; Tab completes, `help` lists them, `exit` or Ctrl-D leaves."
)


class Shell:
    """Reads lines and carries them out until the end."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self._session = session
        self._settings = settings

    def run(self) -> int:
        """Read from the terminal, or whatever standard input is.

        :returns: the exit code; on a terminal that of the last command
        """
        stdin = self._session.streams.stdin
        return self._converse() if stdin.isatty() else self._obey(stdin)

    def _obey(self, lines: Iterable[str]) -> int:
        for line in lines:
            code = self._carry_out(line)
            if code is None:
                break
            if code != Exit.OK:
                return code
        return Exit.OK

    def _converse(self) -> int:
        stdout = self._session.streams.stdout
        print(f"{self._session.transport.url}. {_GREETING}", file=stdout)
        prompt: PromptSession[str] = PromptSession(
            history=FileHistory(str(_history_file())),
            completer=_Candidates(Completer(self._session, self._settings)),
            complete_while_typing=False,
        )
        code: int | None = Exit.OK
        last = int(Exit.OK)
        while code is not None:
            last = code
            try:
                code = self._carry_out(prompt.prompt("vdsmsh> "))
            except KeyboardInterrupt:
                continue
            except EOFError:
                break
        return last

    def _carry_out(self, line: str) -> int | None:
        """Carry out one line. None: leave."""
        words: list[str] = []

        def work() -> int:
            try:
                words.extend(shlex.split(line, comments=True))
            except ValueError as error:
                raise UsageError(f"{error}: {line.strip()}") from None
            if words[:1] == ["vdsmsh"]:
                del words[0]
            if words and words[0] not in _LEAVE:
                dispatch.dispatch(self._session, self._settings, words)
            return Exit.OK

        code = guarded(work, self._session.streams)
        return None if words and words[0] in _LEAVE else code


class _Candidates(PromptCompleter):
    """What the completer says, as the prompt wants it."""

    def __init__(self, completer: Completer) -> None:
        self._completer = completer

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002
        """The words that may stand at the cursor."""
        line = document.text_before_cursor
        before, current = split(line)
        typed = len(line) - start_of_last_word(line)
        for candidate in self._completer.candidates(before, current):
            yield Completion(
                shlex.quote(candidate.text),
                start_position=-typed,
                display=candidate.text,
                display_meta=" ".join(candidate.about.split()),
            )


def _history_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    folder = Path(state) / "vdsmsh"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / "history"
