"""Which requests are refused whatever they ask for, and the headers of every reply."""

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Pages load only what this server sends, run no inline script, and are in no frame.
POLICY = "; ".join(
    [
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"),
        *("img-src 'self' data: blob:", "base-uri 'none'", "form-action 'none'"),
        "frame-ancestors 'none'",
    ]
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

OWN_SITES = ("same-origin", "none")  # none: typed by the user


class Guard:
    """Refuse requests in the name of other sites, and add headers to every reply."""

    def __init__(self, app: ASGIApp, *, host: str) -> None:
        self._app = app
        self._names = {"localhost", host.lower()}
        if not is_loopback(host):
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        has_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        refusal = self._reason_to_refuse_host(headers) or reason_to_refuse_site(headers)
        app = JSONResponse({"error": refusal}, 403) if refusal else self._app
        try:
            await app(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # the server stops, and has waited long enough
            if not has_started:
                stopped = JSONResponse({"error": "the server has stopped."}, 503)
                await stopped(scope, receive, send_with_headers)

    def _reason_to_refuse_host(self, headers: Mapping[str, str]) -> str | None:
        """Refuse other sites' names: one that resolves to this machine could read replies."""
        host = _split(f"//{headers.get('host', '')}").hostname or ""
        if host in self._names or _is_address(host):
            return None
        return (
            "Host: must be the address of this server or its own name. Open the address that "
            "'classifold serve' printed."
        )


def reason_to_refuse_site(headers: Mapping[str, str]) -> str | None:
    """Refuse requests that a browser sends for a page of another site; None for others."""
    site, origin = headers.get("sec-fetch-site", "none"), headers.get("origin")
    is_link = headers.get("sec-fetch-mode") == "navigate" and origin is None
    if site not in OWN_SITES and not is_link:
        return f"Sec-Fetch-Site: must be same-origin, got {site}. Use this server's own page."
    if origin is not None and _split(origin).netloc.lower() != headers.get("host", "").lower():
        return "Origin: must be this server, got another site. Use this server's own page."
    return None


def is_loopback(host: str) -> bool:
    """Check whether a host can be reached from this machine alone."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _split(address: str) -> SplitResult:
    """Split an address; one that cannot be split has no parts."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
