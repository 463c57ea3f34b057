"""From errors to a line on standard error and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from vdsm_bridge.transport import CallRefused, Unreachable
from vdsmsh.errors import ClientError, Exit
from vdsmsh.streams import Streams


def exit_code_of(work: Callable[[], int], streams: Streams) -> int:
    """Run some work. Print its error, if there is one, as a line on standard error.

    :returns: the exit code that the work returned, or that of its error
    """
    try:
        code = work()
        streams.stdout.flush()
    except (ClientError, CallRefused, Unreachable) as error:
        return _report(error, streams)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Python flushes standard output once more at its end; without this it would print an error then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else Exit.OK
    return code


def _report(error: Exception, streams: Streams) -> int:
    text = " ".join(str(error).split())
    code: int = Exit.UNREACHABLE
    if isinstance(error, CallRefused):
        text, code = f"{text} ({error.slug}, {error.code})", Exit.REFUSED
    elif isinstance(error, ClientError):
        code = error.code
    streams.stdout.flush()
    if text:
        print(f"vdsmsh: {text}", file=streams.stderr)
    return code
