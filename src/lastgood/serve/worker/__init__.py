"""The worker's side of serving: uvicorn on the worker's main thread. Nothing here imports lastgood."""
