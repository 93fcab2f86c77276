"""No wrapper is called older than its source that was made of this very source. What is older is in test_direct.py."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

from lastgood import InProcessBridge
from lastgood.config import decode_config
from lastgood.session.older_wrappers import missing_wrappers, older_wrappers
from lastgood.wrappers import wrap_modules
from wrappers.corpus import PACKAGES, sources


def test_no_wrapper_of_a_well_known_module_is_older_than_it(tmp_path: Path) -> None:
    chosen = {source.name: source for source in sources() if source.name.partition(".")[0] in PACKAGES}
    for name in [*chosen]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                importlib.import_module(name)
            except (ImportError, AssertionError):  # it is for another platform
                del chosen[name]
    for name, data in wrap_modules([*chosen.values()], find=chosen.get).files.items():
        path = tmp_path / "generated" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    tables = "".join(f'[modules."{name}"]\n' for name in chosen)
    config = decode_config(f'{tables}[output]\ndir = "generated"\n'.encode(), tmp_path / "lastgood.toml")
    bridge = InProcessBridge(modules=config.modules)
    bridge.start()
    assert len(config.modules) > 150
    assert missing_wrappers(config) == []
    assert [*older_wrappers(config, bridge)] == []
    bridge.stop()
