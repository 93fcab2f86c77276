"""Values as they cross between an app and its worker: how each type is written and read. Both sides read these files."""
