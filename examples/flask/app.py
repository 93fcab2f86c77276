"""A Flask app whose prices come from pricing.py, which can be edited while the server runs.

``pip install flask``, then ``python app.py`` here, and ``curl localhost:5000/quotes/apple?quantity=3``. An edit of pricing.py is
live in the next answer. An edit of this file restarts the server, as always in Flask's debug mode.
"""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask, abort, request
from werkzeug.serving import is_running_from_reloader

import lastgood

CONFIG = Path(__file__).with_name("lastgood.toml")
OURS = ["*/generated/*", "*/.lastgood/*", "*/pricing.py"]
"""What lastgood takes care of: Flask does not restart for these files."""

app = Flask(__name__)
if is_running_from_reloader():  # not in the process that only watches for edits
    session = lastgood.watch(CONFIG).start()


@app.get("/quotes/<sku>")
def quote(sku: str) -> dict[str, object]:
    """Answer with a price, and with the state of the session."""
    from generated import pricing

    try:
        price = pricing.quote(sku, int(request.args.get("quantity", 1)))
    except KeyError:  # the source raised it in the worker
        abort(404, f"no such thing: {sku}")
    return {"price": price, "generation": session.generation, "stale": session.status.stale, "pid": os.getpid()}


if __name__ == "__main__":
    app.run(debug=True, port=int(os.environ.get("PORT", "5000")), exclude_patterns=OURS)
