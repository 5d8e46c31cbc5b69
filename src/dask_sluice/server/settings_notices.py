"""Settings: who else is told what becomes of clusters."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, SecretStr

from .settings_parts import Secret, Section


def _web_address(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"https?://[^\s/?#]+([/?]\S*)?", value.get_secret_value()):
        raise ValueError("must be an address such as 'https://chat.example.org/hooks/...'")
    return value


def _header_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", value):
        raise ValueError("must be the name of a header such as 'Authorization'")
    return value


def _header_value(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", value.get_secret_value()):
        raise ValueError("must be one line of plain ASCII, without blanks at its ends")
    return value


class Notices(Section):
    """Messages to a program that passes them on to people: a chat's incoming webhook, or one that writes mails. Whoever
    lets a cluster work on without them learns so what became of it.
    """

    url: Annotated[Secret, AfterValidator(_web_address)] | None = None
    """Where each message is posted, as a JSON object whose `text` Slack, Mattermost and the like show as it is. It is a
    secret: whoever knows a webhook's address may write there. Null: nobody is told."""
    headers: dict[Annotated[str, AfterValidator(_header_name)], Annotated[Secret, AfterValidator(_header_value)]] = {}
    """Headers of each message, such as `Authorization`."""
    clusters: Literal["outliving", "all"] = "outliving"
    """`outliving`: clusters that were made to outlive their notebook, with `shutdown_on_close=False`. `all`: every
    one."""
