"""Each test that calls a wrapper runs the source in this process: a debugger and coverage see it."""

from lastgood.testing import direct_session  # noqa: F401 - pytest finds the fixture here by its name
