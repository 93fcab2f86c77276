"""What is on disk: the file system as a port, promotion and its journal, the generations that are kept."""
