"""``python -m lastgood`` is the ``lastgood`` command."""

from lastgood.cli import main

if __name__ == "__main__":
    main(prog_name="lastgood")
