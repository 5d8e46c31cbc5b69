"""Believes only our proxies where others can reach the server too, which is where proxies run elsewhere.

`X-Forwarded-*` says who calls and how, and the throttle, cookies and links go by it. On the Unix socket of an embedded
server only our proxy can say it; on a port inside a cluster anybody can.
"""

from __future__ import annotations

import hmac

from starlette.types import ASGIApp, Receive, Scope, Send


class BehindProxies:
    """Takes out of a request what only a proxy may say, unless it shows the proxies' token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "headers" in scope and not self._is_from_a_proxy(scope):
            kept = [(name, value) for name, value in scope["headers"] if not name.startswith(b"x-forwarded-")]
            scope = {**scope, "headers": kept}
        await self._app(scope, receive, send)

    def _is_from_a_proxy(self, scope: Scope) -> bool:
        shown = next((value for name, value in scope["headers"] if name == b"x-sluice-proxy"), b"")
        return hmac.compare_digest(shown, self._token)
