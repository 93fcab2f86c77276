"""Types: annotations are read, and classes become declarations in wrappers."""
