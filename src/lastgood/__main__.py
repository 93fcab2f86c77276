"""The entry point of ``lastgood`` and ``python -m lastgood``. It loads the command late, so that Ctrl-C shows no traceback."""

import sys


def main() -> None:
    """Load and run the command, which is in :mod:`lastgood.cli.commands`."""
    try:
        from lastgood.cli.commands import main as command

        command(prog_name="lastgood")
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)  # the command's own status for Ctrl-C
    finally:
        # CPython sets a flag when a KeyboardInterrupt leaves exec() of a string (dataclasses use it), and `python -m` then ends
        # by the signal in spite of the exit status. The next evaluation of a string clears that flag.
        eval("None")


if __name__ == "__main__":
    main()
