"""Few are let in at once, and one user's many do not keep out another's one."""

from __future__ import annotations

import asyncio

from dask_sluice.server.backends.kubernetes.turns import Turns


async def test_a_late_user_with_one_wish_waits_for_one_of_the_other_users_thousand() -> None:
    turns, order = Turns(2), []

    async def work(who: str) -> None:
        async with turns.turn(who):
            await asyncio.sleep(0)
            order.append(who)

    many = [asyncio.create_task(work("many")) for _ in range(1000)]
    await asyncio.sleep(0)
    await asyncio.gather(work("one"), *many)
    assert order.index("one") <= 6


async def test_no_more_than_so_many_are_inside_and_who_gives_up_takes_no_place() -> None:
    turns, inside, most = Turns(3), 0, 0

    async def work(number: int) -> None:
        nonlocal inside, most
        async with turns.turn(str(number % 4)):
            inside += 1
            most = max(most, inside)
            try:
                await asyncio.sleep(0)
            finally:
                inside -= 1

    tasks = [asyncio.create_task(work(number)) for number in range(60)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (most, inside) == (3, 0)
    async with asyncio.timeout(1), turns.turn("later"), turns.turn("later"), turns.turn("later"):
        pass
