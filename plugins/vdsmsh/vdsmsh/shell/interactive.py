"""The interactive shell: the commands without the word `vdsmsh`, with history and completion.

Lines from a pipe are carried out one by one; the first one that fails ends the shell, as `sh -e` does.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completion
from prompt_toolkit.completion import Completer as PromptCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory

from vdsm_bridge.transport import TransportError
from vdsmsh.commands import dispatch
from vdsmsh.commands.exit_code import exit_code_of
from vdsmsh.commands.secrets import holds_secret, secret_flags
from vdsmsh.connection.session import Session
from vdsmsh.errors import ClientError, Exit, UsageError
from vdsmsh.settings import Settings
from vdsmsh.shell.completion import Completer, split, start_of_last_word

_EXIT_COMMANDS = frozenset({"exit", "quit"})
_GREETING = "Commands are those of `vdsmsh --help`; Tab completes, `help` lists them, `exit` or Ctrl-D exits."


class Shell:
    """Reads lines and carries them out until the end of the input."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self._session = session
        self._settings = settings

    def run(self) -> int:
        """Read lines from the terminal, or from standard input if that is none.

        :returns: the exit code; on a terminal that of the last command
        """
        stdin = self._session.streams.stdin
        return self._interact() if stdin.isatty() else self._run_lines(stdin)

    def _run_lines(self, lines: Iterable[str]) -> int:
        for line in lines:
            code = self._run_line(line)
            if code is None:
                break
            if code != Exit.OK:
                return code
        return Exit.OK

    def _interact(self) -> int:
        stdout = self._session.streams.stdout
        print(f"{self._session.transport.url}. {_GREETING}", file=stdout)
        prompt: PromptSession[str] = PromptSession(
            history=_History(str(_history_file()), self._holds_secret),
            completer=_PromptCompleter(Completer(self._session, self._settings)),
            complete_while_typing=False,
        )
        code: int | None = Exit.OK
        last = int(Exit.OK)
        while code is not None:
            last = code
            try:
                code = self._run_line(prompt.prompt("vdsmsh> "))
            except KeyboardInterrupt:
                continue
            except EOFError:
                break
        return last

    def _holds_secret(self, line: str) -> bool:
        return holds_secret(line, secret_flags(self._session.catalogue(self._settings.reading)))

    def _run_line(self, line: str) -> int | None:
        """Carry out one line.

        :returns: its exit code; None if it ends the shell
        """
        words: list[str] = []

        def work() -> int:
            try:
                words.extend(shlex.split(line, comments=True))
            except ValueError as error:
                raise UsageError(f"cannot split the line into words: {error}: {line.strip()}") from None
            if words[:1] == ["vdsmsh"]:
                del words[0]
            if words and words[0] not in _EXIT_COMMANDS:
                dispatch.dispatch(self._session, self._settings, words)
            return Exit.OK

        code = exit_code_of(work, self._session.streams)
        return None if words and words[0] in _EXIT_COMMANDS else code


class _History(FileHistory):
    """The history in its file, without the lines that hold a secret."""

    def __init__(self, filename: str, holds_secret: Callable[[str], bool]) -> None:
        super().__init__(filename)
        self._holds_secret = holds_secret

    def store_string(self, string: str) -> None:
        """Append a line to the file, unless it holds a secret."""
        try:
            secret = self._holds_secret(string)
        except (TransportError, ClientError):
            # The host does not answer, so which options are secret is not known.
            secret = "--" in string
        if not secret:
            super().store_string(string)


class _PromptCompleter(PromptCompleter):
    """Adapts the completer to the prompt."""

    def __init__(self, completer: Completer) -> None:
        self._completer = completer

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002
        """Yield the words that may stand at the cursor."""
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
