"""Reading of sources: outlines of modules, and resolution of names."""
