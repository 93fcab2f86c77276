"""Source text to an outline, and names to what they lead to."""
