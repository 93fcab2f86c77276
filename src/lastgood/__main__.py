"""``python -m lastgood`` is the ``lastgood`` command; both begin here, so that a Ctrl-C while it is loaded needs no traceback."""

import sys


def main() -> None:
    """Load the command and run it: :mod:`lastgood.cli`."""
    try:
        from lastgood.cli import main as command
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)  # as the command itself has it
    command(prog_name="lastgood")


if __name__ == "__main__":
    main()
