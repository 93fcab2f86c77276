"""Sessions under trio, under asyncio and in a thread; and the bridge reloader, which watches no files."""
