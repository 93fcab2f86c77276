"""The process beside the app that reads sources and makes wrappers: both its ends, and its cache."""
