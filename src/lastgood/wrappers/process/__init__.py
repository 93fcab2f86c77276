"""The extractor process, which reads sources and generates wrappers beside the app: both ends of it, and its cache."""
