"""What a failure on the way to a server means: which hop broke, in a sentence, and what to do about it.

Libraries say `[SSL: WRONG_VERSION_NUMBER]` where somebody wrote https for http. Everything here is pure: an error or
an answer goes in, one of ours comes out. A code of its own for each, so that programs can tell them apart.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

import httpx

from .errors import GatewayServerError, ServerUnreachable

_UNKNOWN_AUTHORITY = (
    "certificate_of_unknown_authority",
    "is signed by an authority that is not known here",
    "Set SSL_CERT_FILE to a file with the authority's certificate. A firewall that opens TLS looks like this too.",
)
_OTHER_NAME = (
    "certificate_for_another_name",
    "is for another name",
    "Use the name that the certificate is for, or have it made for this one.",
)
_CERTIFICATES = {
    9: (
        "certificate_not_yet_valid",
        "is not valid yet",
        "Compare the clocks: most often that of this machine is wrong. Else the certificate was made for later.",
    ),
    10: (
        "certificate_expired",
        "has expired",
        "Whoever runs the server has to renew it; if it is said to be in order, look at the clock of this machine.",
    ),
    18: (
        "certificate_self_signed",
        "is signed by nobody but itself",
        "Set SSL_CERT_FILE to a file with that certificate, or have the server use one of an authority known here.",
    ),
    19: _UNKNOWN_AUTHORITY,
    20: _UNKNOWN_AUTHORITY,
    62: _OTHER_NAME,
    64: _OTHER_NAME,  # an IP address instead of a name
}
"""By OpenSSL's verify codes (X509_V_ERR_* in x509_vfy.h): code, what is wrong, what to do."""
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
"""What OpenSSL calls an answer that is no TLS; the name depends on its release and on the first bytes."""
_NOT_HERE = ("UNRECOGNIZED_NAME", "HANDSHAKE_FAILURE")
"""How our own port answers whoever asks for no cluster by TLS, where the server has no certificate."""
_BEHIND = {
    502: ("bad_gateway", "gets no usable answer from the server behind it"),
    503: ("nothing_behind", "has no server behind it just now"),
    504: ("gateway_timeout", "waits in vain for the server behind it"),
}


def unreachable(
    address: str, error: BaseException, *, via: str | None = None, answered: bool = False
) -> ServerUnreachable:
    """Why no answer came from `address`, out of the error of whichever library tried.

    via        the HTTP proxy that was to be taken
    answered   it has answered before: then it is a server, and its port the right one
    """
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return _told(
            "no_answer",
            f"{address} was reached and does not answer",
            "The server may have too much to do, or what listens there waits for something else than HTTP.",
        )
    where = urlsplit(address)
    for cause in _causes(error):
        told = _of_proxy(where, via, cause) if via else _of_network(where, cause)
        if told is None and not answered:
            told = _of_protocol(where, cause)
        if told is not None:
            return told
    return ServerUnreachable(
        f"no dask-sluice server answers at {address}: {str(error) or type(error).__name__}",
        hint="Is it running, and is the address right? `dask-sluice doctor` looks at every step of the way.",
    )


def _of_network(where: SplitResult, cause: BaseException) -> ServerUnreachable | None:
    """Name and connection."""
    host, port = where.hostname, port_of(where)
    if isinstance(cause, (socket.gaierror, UnicodeError)):
        return _told(
            "host_not_found",
            f"no address is known for the name {host!r}",
            "Is it spelt right? Is the network there, or the VPN, whose name server knows it?",
        )
    if isinstance(cause, ConnectionRefusedError):
        return _told(
            "connection_refused",
            f"nothing listens at {host}, port {port}",
            "Is the server running, and is this its port? `dask-sluice serve` prints the address when it is ready.",
        )
    if isinstance(cause, (httpx.ConnectTimeout, asyncio.TimeoutError, TimeoutError)):
        return _told(
            "connection_timed_out",
            f"{host} does not react at port {port}, not even by refusing",
            "A firewall drops what is sent to that port, or the machine is off. Ask for the port to be opened.",
        )
    if isinstance(cause, OSError) and cause.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES):
        return _told(
            "no_way_to_host",
            f"there is no way to {host}, port {port}: {os.strerror(cause.errno)}",
            "Is this machine connected to the network, or the VPN, that leads there?",
        )
    return None


def _of_proxy(where: SplitResult, via: str, cause: BaseException) -> ServerUnreachable | None:
    """The HTTP proxy that this machine is told to use."""
    if isinstance(cause, (httpx.ProxyError, OSError, UnicodeError)) and not isinstance(cause, ssl.SSLError):
        return _told(
            "http_proxy_failed",
            f"the HTTP proxy {via} does not lead to {where.hostname}: {_words(cause)}",
            "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names it, or sluice.http-client.proxy in Dask's configuration; "
            "NO_PROXY names hosts that need none.",
        )
    return None


def _of_protocol(where: SplitResult, cause: BaseException) -> ServerUnreachable | None:
    """What is spoken at the port."""
    if isinstance(cause, ssl.SSLError):
        return _of_tls(where, cause)
    if where.scheme == "https" and isinstance(cause, ConnectionError):
        return _broken_off(where)
    if where.scheme == "http" and isinstance(cause, (httpx.RemoteProtocolError, httpx.ReadError)):
        return _told(
            "no_http",
            f"what listens at {where.hostname}, port {port_of(where)}, does not answer in HTTP",
            f"A port that wants TLS behaves like this: try https://{where.netloc}{where.path}",
        )
    return None


def _of_tls(where: SplitResult, error: ssl.SSLError) -> ServerUnreachable:
    if isinstance(error, ssl.SSLCertVerificationError):
        other = ("certificate_not_accepted", f"is not accepted: {error.verify_message}", "Whoever runs it can mend it.")
        code, what, hint = _CERTIFICATES.get(error.verify_code, other)
        return _told(code, f"the certificate of {where.hostname} {what}", hint)
    if any(word in (error.reason or "") for word in _NO_TLS):
        return _told(
            "no_tls",
            f"the address begins with https, and {where.netloc} does not speak TLS",
            f"Try http://{where.netloc}{where.path}. If the server is meant to have TLS: "
            "listen.tls_certificate is not set, or the proxy in front of it ends TLS at another port.",
        )
    if any(word in (error.reason or "") for word in _NOT_HERE):
        return _told(
            "tls_refused",
            f"{where.netloc} refuses TLS to {where.hostname}",
            f"A server without a certificate does that: try http://{where.netloc}{where.path}, or set "
            "listen.tls_certificate. Others do it where the name is not one of theirs.",
        )
    if isinstance(error, ssl.SSLEOFError):
        return _broken_off(where)
    return _told(
        "tls_failed",
        f"{where.netloc} and this machine do not agree on TLS ({error.reason or error})",
        "Something old or strict stands on one side, or in between; whoever runs the server can see what.",
    )


def _broken_off(where: SplitResult) -> ServerUnreachable:
    return _told(
        "tls_broken_off",
        f"{where.netloc} breaks the connection off when it is asked for TLS",
        "Is https right for this port? A firewall that does not let TLS pass looks like this too.",
    )


def foreign(address: str, response: httpx.Response) -> GatewayServerError:
    """What an answer says about the way that no dask-sluice server gave."""
    code, sentence, hint = _of_answer(address, response)
    error = GatewayServerError(sentence, hint=hint)
    error.code = code
    return error


def _of_answer(address: str, response: httpx.Response) -> tuple[str, str, str]:
    status, who = response.status_code, _who(response)
    if has_no_route(response):
        return (
            "no_route_in_hub",
            f"JupyterHub answers at {address}, but its proxy has no route to that service",
            "Either no service of this name is in the hub's `services`, or the proxy was just restarted: "
            "within a few minutes the hub tells it all routes again.",
        )
    if response.is_redirect:
        return _of_redirect(address, response)
    if status in _BEHIND:
        code, what = _BEHIND[status]
        return (
            code,
            f"a proxy in between{who} {what} (status {status})",
            "The way leads as far as that proxy: is the server behind it running, and does the proxy know its port?",
        )
    if status == 400 and "https" in response.text[:2000].lower():
        return (
            "wants_tls",
            f"the port of {address} wants TLS",
            f"Use https{address.removeprefix('http')}.",
        )
    if status in (401, 403, 407):
        return (
            "refused_in_between",
            f"something in front of the server{who} asks for a login of its own (status {status})",
            "It has to let the path /api pass: what a dask-sluice server protects, it protects by itself.",
        )
    if status == 404:
        return (
            "nothing_at_path",
            f"somebody answers at {address}{who}, and knows no dask-sluice server there (status 404)",
            "Is the path right, or missing? Behind a hub it is https://HUB/services/NAME. A server of dask-gateway "
            "answers like this too, and needs the client of dask-gateway.",
        )
    kind = response.headers.get("content-type", "no content type").partition(";")[0]
    if response.is_success and kind == "text/html":
        return (
            "another_site",
            f"{address} is another web site{who}: it answers with a page where a server answers with JSON",
            "Is the path missing, or the host another one? Open the address in a browser: the page has a name.",
        )
    return (
        "unusable_answer",
        f"{address} answered {response.request.method} {response.url.path} with status {status} and {kind}, "
        "which no dask-sluice server sends",
        "Something else listens there, or a proxy in between answers by itself.",
    )


def _of_redirect(address: str, response: httpx.Response) -> tuple[str, str, str]:
    target = urlsplit(str(response.url.join(response.headers.get("location", ""))))
    here = urlsplit(str(response.url))
    if (target.scheme, target.hostname, target.path) == ("https", here.hostname, here.path) and here.scheme == "http":
        moved = urlsplit(address)._replace(scheme="https", netloc=target.netloc).geturl()
        return "redirect_to_https", f"{address} sends everybody on to https", f"Use {moved}."
    location = target._replace(query="", fragment="").geturl()
    if any(word in target.path.lower() for word in ("login", "authorize", "oauth", "signin", "sign_in")):
        whose = "a JupyterHub's" if "/hub/" in target.path else "a"
        return (
            "login_in_between",
            f"{address} leads to {whose} login page, {location}, where a server would answer",
            "Is it the address of something else? A hub's service has https://HUB/services/NAME. If a login stands "
            "in front of the server, it has to let the path /api pass.",
        )
    return "redirected", f"{address} sends us on to {location}", "Use that address if it is the server's."


def port_of(where: SplitResult) -> int:
    """The port that a URL names, or that its scheme stands for."""
    return where.port or (443 if where.scheme == "https" else 80)


def has_no_route(response: httpx.Response) -> bool:
    """Whether a JupyterHub answers whose proxy does not know the service: the hub takes the path for one of its own."""
    if not response.is_redirect:
        return False
    path = urlsplit(response.headers.get("location", "")).path
    return path.replace("/hub/services/", "/services/", 1) == response.request.url.path != path


def _who(response: httpx.Response) -> str:
    """The name that the answering program gives itself, if it does."""
    name = response.headers.get("server", "")[:60]
    return f" ({name})" if name else ""


def _words(error: BaseException) -> str:
    """An error of the system without its number and addresses."""
    number = error.errno if isinstance(error, OSError) and not isinstance(error, socket.gaierror) else None
    return os.strerror(number).lower() if number else str(error) or type(error).__name__


def _told(code: str, sentence: str, hint: str) -> ServerUnreachable:
    error = ServerUnreachable(sentence, hint=hint)
    error.code = code
    return error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Everything that led to the error, the first cause first: it says most."""
    before = error.__cause__ or error.__context__
    if before is not None:
        yield from _causes(before)
    for one in getattr(error, "exceptions", ()):  # of several addresses, each failed in its way
        yield from _causes(one)
    yield error
