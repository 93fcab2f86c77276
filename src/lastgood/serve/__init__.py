"""Serving: an ASGI application as a generation, by uvicorn in the worker; the listening sockets belong to the app."""
