"""Programs that run beside the app, each in a process group of its own that is ended as a whole."""
