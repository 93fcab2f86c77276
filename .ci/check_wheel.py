"""Check that a wheel is complete, and that ``lastgood`` is all it installs: ``check_wheel.py WHEEL SOURCE_DIRECTORY``."""

import sys
import zipfile
from pathlib import Path

wheel, source = sys.argv[1], Path(sys.argv[2])
with zipfile.ZipFile(wheel) as archive:
    names = set(archive.namelist())

top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
if top != {"lastgood"}:
    sys.exit(f"{wheel} installs {sorted(top)} at the top level; expected lastgood alone.")

wanted = {
    path.relative_to(source.parent).as_posix()
    for path in source.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}
if missing := sorted(wanted - names):
    sys.exit(f"{wheel} lacks {len(missing)} file(s): {', '.join(missing)}.")
print(f"{Path(wheel).name}: {len(wanted)} files, all there; one top-level name, lastgood.")
