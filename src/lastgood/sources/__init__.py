"""Sources: module resolution, the content of a generation, the worker's interpreter and environment, watched files."""
