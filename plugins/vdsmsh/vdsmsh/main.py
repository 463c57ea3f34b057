"""`vdsmsh`: the command line of one host.

Common lines take the quick way, which imports next to nothing; every other line is carried out by `program`.
"""

import sys

from vdsmsh.quick import line


def main(arguments: list[str] | None = None) -> int:
    """Run one command, or the shell if the line has none.

    :returns: the exit code, one of `Exit`
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    code = line.attempt(words)
    if code is None:
        from vdsmsh import program  # noqa: PLC0415 - it imports frameworks, which quick lines do without

        return program.main(words)
    return code


if __name__ == "__main__":
    sys.exit(main())
