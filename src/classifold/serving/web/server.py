"""Run the application with uvicorn until a signal stops it."""

import errno
import signal
import socket

import uvicorn
from starlette.types import ASGIApp

from classifold.errors import UserError
from classifold.serving.web.limits import Limits

SECONDS_TO_STOP = 30  # for requests that run


def bind(host: str, port: int) -> socket.socket:
    """Reserve the port before models are loaded; requests wait until `run`.

    Raises:
        UserError: if the port is in use or not allowed, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=Limits().max_connections)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"--port: {port} is in use. Stop the other program, or choose another port, such "
                f"as --port {port + 1 if port < 65535 else port - 1}."
            ) from None
        raise UserError(
            f"--host, --port: cannot listen at {host}, port {port} ({error.strerror}). Choose an "
            "address of this machine and a port from 1024 on."
        ) from None


def address_of(listener: socket.socket) -> str:
    """Format the address of a socket for a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: ASGIApp, listener: socket.socket, limits: Limits) -> None:
    """Serve until SIGTERM or Ctrl-C; running requests are finished.

    Args:
        app: the application.
        listener: see `bind`.
        limits: the maximum number of connections.
    """
    config = uvicorn.Config(
        app,
        access_log=False,  # addresses of clients are not stored
        log_level="warning",
        limit_concurrency=limits.max_connections,
        timeout_graceful_shutdown=SECONDS_TO_STOP,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http="h11",
        loop="asyncio",
    )
    # uvicorn raises the signal again after a clean stop.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run([listener])
