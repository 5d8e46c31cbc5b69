"""Making one object, whatever another request at the same moment does."""

from __future__ import annotations

import asyncio
import random

from .api import Api, ApiError, Object
from .refusals import already_there, is_worth_another_try, refusal

TRIES = 5
"""Of a request that another one was in the way of."""


async def create(api: Api, path: str, manifest: Object, what: str) -> Object | None:
    """The object as it is now; None where one of this name is there already.

    what    for whom it is: `the scheduler`, or a worker's name
    raises  Refused, Unavailable
    """
    for attempt in range(TRIES):
        try:
            return await api.create(path, manifest)
        except ApiError as error:
            if already_there(error):
                return None
            if not is_worth_another_try(error) or attempt == TRIES - 1:
                raise refusal(error, what) from error
        await asyncio.sleep(0.05 * 2**attempt * random.uniform(0.5, 1.5))
    raise AssertionError("the last try returns or raises")
