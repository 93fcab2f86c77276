"""``python -m lastgood`` is the ``lastgood`` command; both begin here, so that a Ctrl-C while it is loaded needs no traceback."""

import sys


def main() -> None:
    """Load the command and run it: :mod:`lastgood.cli.commands`."""
    try:
        from lastgood.cli.commands import main as command

        command(prog_name="lastgood")
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)  # as the command itself has it
    finally:
        # CPython notes a KeyboardInterrupt that left an exec() of text, such as dataclasses are made by, and python -m then
        # ends by the signal, whatever the exit status. The next evaluation of text takes the note away.
        eval("None")


if __name__ == "__main__":
    main()
