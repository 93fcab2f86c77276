"""The controls of a greenhouse: its windows and its pump."""
