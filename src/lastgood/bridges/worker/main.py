"""What the worker's interpreter is started with: ``python -u main.py REQUESTS ANSWERS INCOMING OUTGOING PARENT``.

The first four are descriptors: two pipes and two arenas (-1: none), the last is a pid.

Runs in whatever Python the user named, so this file says so if that one is too old, before anything it cannot read.
"""

import sys

if sys.version_info < (3, 9):  # noqa: UP036 - not the Python of the app
    sys.exit(
        "lastgood's worker needs Python 3.9 or newer; {} is Python {}.{}.".format(sys.executable, *sys.version_info)
    )

import os

BARE = frozenset(sys.modules)  # what the interpreter has loaded by itself; os is among it
PACKAGE = "_lastgood_worker"


def load() -> None:
    """Make the worker's other files a package of a private name."""
    here = os.path.dirname(os.path.abspath(__file__))
    # Python puts a script's directory first; left there, the user's code could import our files by accident.
    if sys.path and os.path.abspath(sys.path[0]) == here:
        del sys.path[0]
    package = type(sys)(PACKAGE)
    package.__path__ = [here]
    sys.modules[PACKAGE] = package


def start() -> None:
    """Be a worker."""
    load()
    descriptors = map(int, sys.argv[1:])
    del sys.argv[1:]
    from _lastgood_worker.serving import run  # type: ignore[import-not-found]  # the package made just above

    run(*descriptors, bare=BARE)


def inherit() -> None:
    """Be a child that imports what its worker would."""
    load()
    from _lastgood_worker.importing import inherit as take_over  # type: ignore[import-not-found]  # likewise

    take_over(BARE)


if __name__ == "__main__":
    start()
elif __name__ == "__mp_main__":  # multiprocessing made a fresh child of a worker, and runs its main program first
    inherit()
