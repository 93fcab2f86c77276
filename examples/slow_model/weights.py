"""The model. Loading it takes seconds, so it has a module of its own, which is rarely edited."""

from __future__ import annotations

import os
import time

print("loading the model")
time.sleep(float(os.environ.get("LOADING_TAKES", "3")))  # in place of torch.load(...), or the like
WEIGHTS = {"good": 1.0, "bad": -1.0}
