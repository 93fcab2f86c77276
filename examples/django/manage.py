"""A small Django project whose prices come from pricing.py, which can be edited while the server runs.

``pip install django``, then ``python manage.py runserver`` here, and ``curl 'localhost:8000/quotes/apple?quantity=3'``. An edit of
pricing.py is live in the next answer. An edit of shop/ restarts the server, as always under ``runserver``.
"""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    execute_from_command_line(sys.argv)
