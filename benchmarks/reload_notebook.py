"""The program that ``reload.py`` measures IPython's ``%autoreload`` with: a shell that runs a cell for each request, by HTTP.

    python reload_notebook.py PORT

``%autoreload 2`` looks for edited modules before each cell, and runs them again. The cell is ``main.answer()``.
"""

from __future__ import annotations

import socket
import sys

from IPython.core.interactiveshell import InteractiveShell

sys.path.insert(0, "")
shell = InteractiveShell.instance()
shell.run_cell("%load_ext autoreload\n%autoreload 2")
shell.run_cell("import main")
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            ran = shell.run_cell("main.answer()")
            error = ran.error_before_exec or ran.error_in_exec
            status, body = ("200 OK", ran.result) if error is None else ("500 Error", type(error).__name__)
            connection.sendall(f"HTTP/1.0 {status}\r\n\r\n{body}".encode())
