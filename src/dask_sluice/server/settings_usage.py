"""Settings of the usage ledger: what a process costs, and who may spend how much."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from .settings_parts import GroupName, SecondsOrNever, Section, UserName


def _currency(value: str) -> str:
    if not re.fullmatch("[A-Z]{3}", value):
        raise ValueError("must be the code of a currency, three capital letters such as 'EUR'")
    return value


class Prices(Section):
    """What one process costs for as long as it runs; schedulers and workers alike. A cluster keeps the prices of the
    day it was made: a change of prices does not rewrite history.
    """

    core_hour: float = Field(0.0, ge=0)
    """Price of one core for one hour."""
    memory_gib_hour: float = Field(0.0, ge=0)
    """Price of one GiB of memory for one hour. Memory is charged as it was asked for, used or not."""
    gpu_hour: float = Field(0.0, ge=0)
    """Price of one GPU for one hour."""
    currency: Annotated[str, AfterValidator(_currency)] = "EUR"
    """Code of the currency (ISO 4217): `EUR`, `USD`; or `XXX`, which is no currency, for points of your own."""


class Budget(Section):
    """So much in so long a time."""

    amount: float = Field(ge=0)
    """How much may be spent in a period."""
    unit: Literal["currency", "core_hours"] = "currency"
    """Whether `amount` is money, by the prices, or core-hours, which need no prices."""
    period: Literal["day", "week", "month"] = "month"
    """How long the amount has to last. Days begin at midnight UTC, weeks on Monday, months on the first."""


class Budgets(Section):
    """Who may spend how much. A cluster draws on its user's budget and on that of the group that is charged; the worse
    of the two counts.
    """

    per_user: Budget | None = None
    """What each user may spend. Null: without end."""
    per_group: Budget | None = None
    """What each group may spend, all its members together. Null: without end."""
    users: dict[UserName, Budget | None] = {}
    """Users with a budget of their own, which goes before `per_user`; null: without end."""
    groups: dict[GroupName, Budget | None] = {}
    """Groups with a budget of their own, which goes before `per_group`; null: without end."""
    warn_at: float = Field(0.8, gt=0, le=1)
    """Part of the amount at which users are warned. At all of it no new workers and clusters are started."""
    drain_at: float = Field(1.1, ge=1)
    """Part of the amount at which running clusters are ended. Above 1, so that what runs can usually finish."""
    drain_grace_s: SecondsOrNever = 900.0
    """Seconds between saying that a cluster will be ended and ending it: time to save results."""


class Usage(Section):
    """What using the machines costs, and who may spend how much. The ledger is kept in any case."""

    prices: Prices = Prices()
    """What a process costs."""
    budgets: Budgets = Budgets()
    """Who may spend how much."""
