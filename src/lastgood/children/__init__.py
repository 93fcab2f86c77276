"""Programs that run beside the app: each in a process group of its own, ended with all that it has started."""
