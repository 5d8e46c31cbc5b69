"""A cluster's dashboard as a browser has it: its pages, those of its workers, and the live data behind them."""

from __future__ import annotations

import re
import ssl

import httpx
import websockets
from websockets.sync.client import connect

from .live import PATIENCE_S, until

PAGE = {"Accept": "text/html,application/xhtml+xml"}


def answers(browser: httpx.Client, dashboard: str, verify: ssl.SSLContext | None = None) -> str:
    """Return once all of it has answered: where the browser came to for the first page.

    browser     has whatever lets its user in; follows redirects
    dashboard   the address of the dashboard, no slash at the end; the cluster has a worker
    """
    assert browser.follow_redirects
    for page, shown in (("workers", "bokeh"), ("info/main/workers.html", "tls://"), ("status", "bokeh")):
        answer = browser.get(f"{dashboard}/{page}", headers=PAGE)
        assert (answer.status_code, shown in answer.text) == (200, True), f"{answer.url}: {answer.text[:2000]}"
    first = answer
    _of_a_worker(browser, f"{dashboard}/info/main/workers.html")
    _live(browser, first, verify)
    return str(first.url)


def _of_a_worker(browser: httpx.Client, listing: str) -> None:
    """The page of the worker that the list leads to."""

    def link() -> tuple[httpx.URL, str] | None:
        page = browser.get(listing, headers=PAGE)
        found = re.search(r'href="([^"]*worker/[^"]+\.html)"', page.text)
        return (page.url, found[1]) if found else None

    until(link, f"a worker is listed at {listing}")
    place = link()
    assert place is not None
    page = browser.get(place[0].join(place[1]), headers=PAGE)
    assert page.status_code == 200, page.url
    assert "tls://" in page.text


def _live(browser: httpx.Client, page: httpx.Response, verify: ssl.SSLContext | None) -> None:
    """What the page's own script does: open the WebSocket beside it with the page's token."""
    token = re.search(r'"token":"([^"]+)"', page.text)
    assert token, page.text[:2000]
    address = str(page.url.copy_with(scheme=page.url.scheme.replace("http", "ws"), query=None)) + "/ws"
    headers = {name: value for name, value in page.request.headers.items() if name in ("cookie", "authorization")}
    sandboxed = websockets.Origin("null") if "/~" in page.url.path else None
    protocols = [websockets.Subprotocol("bokeh"), websockets.Subprotocol(token[1])]
    with connect(
        address,
        subprotocols=protocols,
        origin=sandboxed,
        additional_headers=headers,
        ssl=verify,
        proxy=None,
        open_timeout=PATIENCE_S,
    ) as opened:
        assert "ACK" in str(opened.recv(PATIENCE_S))
