"""A dashboard is somebody else's page: it gets no credentials, keeps no cookies, and stays in its cage."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.proxy.dashboards import (
    SANDBOX,
    answer_headers,
    relocated,
    request_headers,
    same_origin,
    ticket_for,
    ticket_is_valid,
)

KEY = b"k" * 32


@given(st.text(max_size=30), st.integers(1, 2**40), st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True))
def test_a_ticket_opens_its_cluster_until_it_expires(user: str, expires: int, cluster: str) -> None:
    ticket = ticket_for(KEY, cluster=cluster, user=user, expires=expires)
    assert "/" not in ticket and "?" not in ticket
    assert ticket_is_valid(ticket, KEY, cluster=cluster, now=expires - 1)
    assert not ticket_is_valid(ticket, KEY, cluster=cluster, now=expires)
    assert not ticket_is_valid(ticket, KEY, cluster=cluster + "x", now=0)
    assert not ticket_is_valid(ticket, b"another", cluster=cluster, now=0)


@given(st.text(max_size=80))
def test_no_text_is_a_ticket(text: str) -> None:
    assert not ticket_is_valid(text, KEY, cluster="c1", now=0)


@given(st.integers(0, 60), st.characters(min_codepoint=33, max_codepoint=126))
def test_a_changed_ticket_is_none(position: int, character: str) -> None:
    ticket = ticket_for(KEY, cluster="c1", user="ada", expires=2_000_000_000)
    position %= len(ticket)
    changed = ticket[:position] + character + ticket[position + 1 :]
    assert changed == ticket or not ticket_is_valid(changed, KEY, cluster="c1", now=0)


def test_a_longer_life_cannot_be_written_into_a_ticket() -> None:
    _, user, signature = ticket_for(KEY, cluster="c1", user="ada", expires=100).split(".")
    assert not ticket_is_valid(f"999.{user}.{signature}", KEY, cluster="c1", now=50)
    assert not ticket_is_valid(f"+100.{user}.{signature}", KEY, cluster="c1", now=50)


def test_without_a_key_nothing_is_valid() -> None:
    assert not ticket_is_valid(ticket_for(b"", cluster="c", user="u", expires=9), b"", cluster="c", now=0)


def test_the_form_of_a_ticket_is_the_one_agreed_on() -> None:
    expires, user, signature = ticket_for(KEY, cluster="c1", user="ada@x", expires=123).split(".")
    assert (expires, base64.urlsafe_b64decode(user + "=" * (-len(user) % 4)), len(signature)) == ("123", b"ada@x", 32)


def test_no_credentials_reach_a_dashboard_and_host_and_origin_are_its_own() -> None:
    sent = request_headers(
        [
            (b"Host", b"gateway"),
            (b"Cookie", b"a=b"),
            (b"AUTHORIZATION", b"Bearer x"),
            (b"Origin", b"null"),
            (b"Referer", b"http://gateway/clusters/c1/~ticket/status"),
            (b"Accept", b"*/*"),
        ],
        "10.0.0.1:8787",
    )
    assert sent == [(b"Host", b"10.0.0.1:8787"), (b"Accept", b"*/*"), (b"Origin", b"http://10.0.0.1:8787")]


def test_a_dashboard_cannot_speak_for_the_gateway() -> None:
    hostile = [
        (b"Set-Cookie", b"session=x"),
        (b"Clear-Site-Data", b'"cookies"'),
        (b"WWW-Authenticate", b"Basic"),
        (b"Strict-Transport-Security", b"max-age=1"),
        (b"Service-Worker-Allowed", b"/"),
        (b"Content-Type", b"text/html"),
    ]
    received = dict(answer_headers(hostile, base="/clusters/c", upstream="h:1", ticketed=False))
    assert set(received) == {
        b"Content-Type",
        b"Content-Security-Policy",
        b"Referrer-Policy",
        b"X-Content-Type-Options",
    }
    assert received[b"Content-Security-Policy"] == SANDBOX
    assert b"allow-same-origin" not in SANDBOX and b"allow-top-navigation" not in SANDBOX


@pytest.mark.parametrize(
    ("location", "moved"),
    [
        ("/status", "/clusters/c/status"),
        ("status", "status"),
        ("./x?y", "./x?y"),
        ("http://h:1/graph?x=1", "/clusters/c/graph?x=1"),
        ("http://h:1", "/clusters/c/"),
        ("https://docs.dask.org/", "https://docs.dask.org/"),
        ("//elsewhere/x", "//elsewhere/x"),
    ],
)
def test_redirects_stay_under_the_dashboards_path(location: str, moved: str) -> None:
    assert relocated(location, base="/clusters/c", upstream="h:1") == moved


def test_origins_are_compared_by_host_and_port() -> None:
    assert same_origin("https://Gateway:8000", "gateway:8000")
    assert not same_origin("https://gateway:8001", "gateway:8000")
    assert not same_origin("null", "gateway")
