"""Sessions: under trio, under asyncio, in a thread; and the reloader without files."""
