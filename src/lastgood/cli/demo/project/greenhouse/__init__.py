"""A greenhouse: what its windows and its pump should do."""
