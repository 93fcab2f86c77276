"""The session: it begins when the server does, in the process that answers requests."""

from __future__ import annotations

import os
from pathlib import Path

from django.apps import AppConfig
from django.conf import settings
from django.utils.autoreload import file_changed

import lastgood


class Shop(AppConfig):
    """The shop, with the session that keeps its prices live."""

    name = "shop"
    session: lastgood.ThreadedSession

    def ready(self) -> None:
        """Start the session, unless this is the process that only watches for edits, or another command."""
        if os.environ.get("RUN_MAIN") == "true":
            file_changed.connect(is_generated)
            self.session = lastgood.watch(settings.BASE_DIR / "lastgood.toml").start()


def is_generated(*, file_path: Path, **_: object) -> bool:
    """Return whether lastgood takes care of this file: Django then does not restart for it."""
    return file_path.is_relative_to(settings.BASE_DIR / "generated")
