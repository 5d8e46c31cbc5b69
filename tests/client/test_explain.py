"""What libraries say of a broken way is told by the hop: here what the catalogue of misconfigurations cannot make."""

from __future__ import annotations

import errno
import ssl

import httpx
import pytest

from dask_sluice.client.explain import foreign, unreachable

HTTPS, HTTP = "https://dask.example.org/lab", "http://dask.example.org:8000"


def caused(outer: Exception, cause: Exception) -> Exception:
    outer.__cause__ = cause
    return outer


def tls(reason: str, kind: type[ssl.SSLError] = ssl.SSLError) -> ssl.SSLError:
    error = kind(1, f"[SSL: {reason}] something (_ssl.c:1006)")
    error.reason = reason
    return error


def not_accepted(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]")
    error.verify_code, error.verify_message = code, message
    return error


@pytest.mark.parametrize(
    ("address", "error", "code", "said"),
    [
        (HTTP, httpx.ReadTimeout(""), "no_answer", "was reached and does not answer"),
        (HTTP, OSError(errno.ENETUNREACH, "x"), "no_way_to_host", "port 8000: Network is unreachable"),
        (HTTPS, tls("UNSUPPORTED_PROTOCOL"), "tls_failed", "do not agree on TLS (UNSUPPORTED_PROTOCOL)"),
        (HTTPS, tls("EOF", ssl.SSLEOFError), "tls_broken_off", "breaks the connection off"),
        (HTTPS, ConnectionResetError(), "tls_broken_off", "breaks the connection off"),
        (HTTPS, tls("WRONG_VERSION_NUMBER"), "no_tls", "does not speak TLS"),
        (HTTPS, not_accepted(23, "certificate revoked"), "certificate_not_accepted", "accepted: certificate revoked"),
        (HTTPS, not_accepted(64, "IP mismatch"), "certificate_for_another_name", "is for another name"),
        (HTTP, httpx.ReadError(""), "no_http", "does not answer in HTTP"),
        (HTTP, ValueError("odd"), "server_unreachable", "no dask-sluice server answers at"),
    ],
)
def test_an_error_names_its_hop_however_deep_its_cause_is(address: str, error: Exception, code: str, said: str) -> None:
    for seen in (error, caused(httpx.ConnectError("All connection attempts failed"), error)):
        if isinstance(error, httpx.TimeoutException) and seen is not error:
            continue
        told = unreachable(address, seen)
        assert (told.code, said in told.message) == (code, True), told.message
        assert told.hint
        assert "[SSL" not in str(told)


def test_of_several_addresses_that_failed_one_is_told() -> None:
    refused = [ConnectionRefusedError(), ConnectionRefusedError()]
    group = ExceptionGroup("multiple connection attempts failed", refused)  # noqa: F821  tests run on 3.11
    assert unreachable(HTTP, caused(OSError("All connection attempts failed"), group)).code == "connection_refused"


def test_an_http_proxy_that_refuses_is_told_apart_from_the_server() -> None:
    told = unreachable(HTTPS, httpx.ProxyError("407 Proxy Authentication Required"), via="http://proxy:3128")
    assert told.message == (
        "the HTTP proxy http://proxy:3128 does not lead to dask.example.org: 407 Proxy Authentication Required"
    )
    behind = unreachable(HTTPS, caused(httpx.ConnectError("x"), not_accepted(10, "expired")), via="http://proxy:3128")
    assert behind.code == "certificate_expired"


def test_a_server_that_answered_before_is_not_taken_for_something_else() -> None:
    assert unreachable(HTTP, httpx.RemoteProtocolError("broke off"), answered=True).code == "server_unreachable"


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("https://dask.example.org/api/v2/", "redirect_to_https"),
        ("https://sso.example.org/realms/lab/authorize?client_id=1", "login_in_between"),
        ("/hub/login?next=%2F", "login_in_between"),
        ("http://elsewhere.example.org/api/v2/", "redirected"),
    ],
)
def test_where_a_redirect_leads_says_what_is_wrong(location: str, code: str) -> None:
    asked = httpx.Request("GET", "http://dask.example.org/api/v2/")
    told = foreign("http://dask.example.org", httpx.Response(307, headers={"Location": location}, request=asked))
    assert told.code == code
    assert "client_id" not in str(told), "a query may hold what is nobody's business"
