"""Storage: the file system port, promotion with its journal, and the stored generations."""
