"""Who may ask a door that is bound to this machine only.

A web page may give its own name the address 127.0.0.1, and the browser then takes our answers for
that page's own (DNS rebinding). It still sends the page's name as Host, and by that it is turned
away with 421. A client that sends no Host is no browser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[^\s:@/\[\]]+?)\.?)(?::\d*)?")

MISDIRECTED_REQUEST = 421


class HostGuard:
    """Turns away requests that were meant for another host.

    Parameters
    ----------
    own : names and addresses that mean us, beside those of the loopback
    """

    def __init__(self, application: ASGIApp, own: Iterable[str] = ()) -> None:
        self._application = application
        self._own = frozenset(name.lower() for name in own)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 421, or let the request through."""
        if scope["type"] == "http" and not self._is_ours(Headers(scope=scope).get("host")):
            refusal = PlainTextResponse("this is not the host you asked for\n", MISDIRECTED_REQUEST)
            await refusal(scope, receive, send)
            return
        await self._application(scope, receive, send)

    def _is_ours(self, host: str | None) -> bool:
        if host is None:
            return True
        match = _HOST.fullmatch(host.lower())
        if match is None:
            return False
        name = match["ipv6"] or match["name"]
        return name in self._own or name == "localhost" or is_loopback(name)


def is_loopback(address: str) -> bool:
    """Return whether `address` is a numeric address of this machine only."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback
