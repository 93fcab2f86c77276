"""The worker's entry point: ``python -u main.py REQUESTS ANSWERS LOGS INCOMING OUTGOING PARENT``.

The first five arguments are descriptors: three pipes and two arenas (-1: none). The last is the app's pid.

This runs in the Python that the user configured. If that is too old, this file says so before importing anything else.
"""

import sys

if sys.version_info < (3, 9):  # noqa: UP036 - not the Python of the app
    sys.exit(
        "lastgood's worker needs Python 3.9 or newer; {} is Python {}.{}.".format(sys.executable, *sys.version_info)
    )

import os

BARE = frozenset(sys.modules)  # modules that the interpreter has loaded by itself, including os
PACKAGE = "_lastgood_worker"


def load() -> None:
    """Make the worker's other files importable as a package with a private name."""
    here = os.path.dirname(os.path.abspath(__file__))
    # Python puts a script's directory first on sys.path; left there, user code could import the worker's files by accident.
    if sys.path and os.path.abspath(sys.path[0]) == here:
        del sys.path[0]
    package = type(sys)(PACKAGE)
    package.__path__ = [here]
    sys.modules[PACKAGE] = package


def start() -> None:
    """Run a worker."""
    load()
    descriptors = map(int, sys.argv[1:])
    del sys.argv[1:]
    from _lastgood_worker.starting import run  # type: ignore[import-not-found]  # the package made just above

    run(*descriptors, bare=BARE)


def inherit() -> None:
    """In a child process of a worker: import local modules as the worker does."""
    load()
    from _lastgood_worker.importing import install_inherited  # type: ignore[import-not-found]  # see start()

    install_inherited(BARE)


if __name__ == "__main__":
    start()
elif __name__ == "__mp_main__":  # multiprocessing started a child of a worker, and runs the parent's main program first
    inherit()
