"""What the proxy is told at its start: one JSON document on standard input, then nothing more.

Standard input and not a command line, because the document holds the token that the server and its
proxies share. An unknown key stops the proxy: a setting that is accepted and ignored helps nobody.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from dataclasses import dataclass, field
from typing import Any


class SettingsInvalid(ValueError):
    """The document cannot be used; the sentence says which key and why."""


@dataclass(frozen=True)
class Settings:
    """The proxy's settings. Only the first three must be given."""

    listen_fd: int
    """Number of an inherited listening TCP socket. Several proxies may share it."""
    servers: tuple[str, ...]
    """Where the servers are, any of which will do: `unix:/path/server.sock` or `http://host:port` each."""
    token: str = field(repr=False)
    """Secret by which the server knows its proxies."""
    prefix: str = ""
    """Path under which everything is served, such as `/dask`; empty for none."""
    tls_certificate: str | None = None
    """Path of a PEM file; with it, HTTP becomes HTTPS. Dask's own TLS is not touched by it."""
    tls_key: str | None = None
    """Path of the certificate's key; None where the key is in the same file."""
    max_connections_per_address: int = 1000
    """Connections from one address, per proxy process; more are closed at once."""
    hello_timeout_s: float = 10.0
    """How long a new connection may take to say what it wants."""
    grace_s: float = 5.0
    """How long what is carried may go on after SIGTERM, in seconds."""
    ends_with_parent: bool = False
    """Whether to stop, as by SIGTERM, when standard input ends: whoever started us then keeps it open."""
    log_level: str = "info"
    spin_us: float = 50.0
    """How long to look for the next bytes before going to sleep, while messages follow one another that
    quickly; 0 never. See docs/decisions/0003-proxy-in-python.md."""


def parse_settings(text: str | bytes) -> Settings:
    """The settings in a JSON document, one line of it.

    raises  SettingsInvalid naming the key
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise SettingsInvalid(f"The settings on standard input are not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise SettingsInvalid("The settings on standard input must be one JSON object.")
    fields = {f.name: f for f in dataclasses.fields(Settings)}
    for key in document:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            raise SettingsInvalid(f"Unknown proxy setting {key!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
    for name, f in fields.items():
        if f.default is dataclasses.MISSING and name not in document:
            raise SettingsInvalid(f"The proxy setting {name!r} is missing.")
    return Settings(**{key: _checked(key, value) for key, value in document.items()})


_NULLABLE = {"tls_certificate", "tls_key"}
_INTEGERS = {"listen_fd", "max_connections_per_address"}
_NUMBERS = {"hello_timeout_s", "grace_s", "spin_us"}
_LEVELS = ("debug", "info", "warning", "error")


def _checked(key: str, value: Any) -> Any:
    if key in _NULLABLE and value is None:
        return None
    if key in _INTEGERS or key in _NUMBERS:
        allowed = isinstance(value, int) or (isinstance(value, float) and key in _NUMBERS)
        if not allowed or isinstance(value, bool) or value < 0:
            raise SettingsInvalid(f"The proxy setting {key!r} must be a number of at least 0, not {value!r}.")
        return value
    if key == "servers":
        return _checked_servers(value)
    if key == "ends_with_parent":
        if not isinstance(value, bool):
            raise SettingsInvalid(f"The proxy setting {key!r} must be true or false, not {value!r}.")
        return value
    if not isinstance(value, str):
        raise SettingsInvalid(f"The proxy setting {key!r} must be a text, not {type(value).__name__}.")
    if key == "prefix":
        value = value.rstrip("/")
        if value and not value.startswith("/"):
            raise SettingsInvalid(f"The proxy setting 'prefix' must begin with '/', unlike {value!r}.")
    if key == "log_level":
        value = value.lower()
        if value not in _LEVELS:
            raise SettingsInvalid(f"The proxy setting 'log_level' must be one of {', '.join(_LEVELS)}, not {value!r}.")
    return value


def _checked_servers(value: Any) -> tuple[str, ...]:
    good = isinstance(value, list) and value and all(isinstance(each, str) for each in value)
    if not good or not all(each.startswith(("unix:/", "http://")) for each in value):
        raise SettingsInvalid(
            f"The proxy setting 'servers' must be a list of unix:/path or http://host:port, not {value!r}."
        )
    return tuple(value)
