"""What a configuration opens to others, and its administrator may not have meant. Allowed, and said aloud."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from .settings_schema import Settings


def warnings(settings: Settings) -> Iterator[str]:
    """A sentence for each, with the key that changes it."""
    listen, basic = settings.listen, settings.authenticator.basic
    behind_https = listen.public_url is not None and listen.public_url.startswith("https://")
    if not _is_loopback(listen.address) and listen.tls_certificate is None and not behind_https:
        yield (
            f"listen.address is {listen.address} and there is no listen.tls_certificate: who can hear the network can "
            "read passwords and tokens. Give a certificate, or set listen.public_url to the https address in front."
        )
    if basic is not None and basic.password is not None:
        yield (
            "authenticator.basic.password is one password for everybody: whoever knows it can act under any name, an "
            "administrator's too. Give authenticator.basic.users for a password each."
        )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
