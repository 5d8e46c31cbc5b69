"""The administrator's own functions, kept at arm's length: they may be slow, fail, and answer anything.

Each call runs in a thread of its own, with a deadline, on a deep copy of what it is told; a coroutine gets an
event loop in that thread. What comes back is checked like settings from a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import difflib
import inspect
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from ...wire.api import LeaseRequest
from ...wire.durations import span
from ...wire.errors import BackendUnavailable, RequestInvalid, ServerError, SluiceError
from ..clock import Clock
from ..model import Caller
from ..plugins import find
from ..settings_policy import OptionSettings, PolicySettings, Setup
from .options import Offer, type_of
from .resolve import AS_SET, Policy, Resolved

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Calls that may be under way; one that never returns keeps its place."""
Hook = Callable[..., Any]


@dataclass(frozen=True)
class _Answer:
    options: Mapping[str, OptionSettings]
    time: float


class Hooks:
    """Asks the site's hooks, where there are any; without them it costs nothing."""

    def __init__(self, rules: PolicySettings, clock: Clock) -> None:
        self._rules = rules
        self._clock = clock
        self._setup: Hook | None = None
        self._options: Hook | None = None
        self._answers: dict[str, _Answer] = {}
        self._under_way = 0

    def load(self) -> None:
        """Import what the settings name.

        raises  CannotStart
        """
        self._setup = imported("policy.hook", self._rules.hook)
        self._options = imported("policy.options_hook", self._rules.options_hook)

    async def offer(self, policy: Policy, caller: Caller) -> Offer:
        """What this caller may choose, the options hook's changes included."""
        if self._options is None:
            return policy.offer(caller)
        return policy.offer(caller, await self._computed(self._options, policy, caller))

    async def resolve(
        self, policy: Policy, caller: Caller, name: str, given: Mapping[str, Any], lease: LeaseRequest = AS_SET
    ) -> Resolved:
        """What the caller gets for these options, the hook's answer included."""
        offered = await self.offer(policy, caller)
        chosen = offered.choose(given)
        if self._setup is None:
            return policy.settle(caller, name, offered, chosen, lease)
        answer = await self._ask("policy.hook", self._setup, dict(chosen.values), caller)
        try:
            return policy.settle(caller, name, offered, chosen, lease, _as_setup(answer))
        except SluiceError:
            raise
        except ValueError as error:
            raise _hook_is_wrong("policy.hook", str(error)) from error

    async def _computed(self, hook: Hook, policy: Policy, caller: Caller) -> Mapping[str, OptionSettings]:
        known = self._answers.get(caller.name)
        if known is not None and self._clock.now() < known.time + self._rules.options_hook_keep_s:
            return known.options
        try:
            options = _as_options(await self._ask("policy.options_hook", hook, caller), policy)
        except SluiceError as error:
            if known is None:
                raise
            log.warning("policy.options_hook failed for %s, its last answer counts on: %s", caller.name, error.message)
            options = known.options
        self._answers[caller.name] = _Answer(options, self._clock.now())
        return options

    async def _ask(self, key: str, hook: Hook, *arguments: Any) -> Any:
        if self._under_way >= AT_ONCE:
            raise BackendUnavailable(f"too many calls of the site's {key} are under way", retry_after_s=5)
        told = copy.deepcopy(arguments[: _takes(hook, len(arguments))])
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            self._under_way -= 1
            if not answer.done():
                answer.set_result(result) if error is None else answer.set_exception(error)

        def work() -> None:
            try:
                outcome: tuple[Any, BaseException | None] = (_called(hook, told), None)
            except BaseException as error:  # noqa: BLE001  whatever it is goes to whoever asked
                can_be_passed_on = isinstance(error, Exception) and not isinstance(error, StopIteration)
                outcome = (None, error if can_be_passed_on else RuntimeError(repr(error)))
            with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
                loop.call_soon_threadsafe(settle, *outcome)

        self._under_way += 1
        # No pool: a thread that never returns must keep neither others waiting nor the server from ending.
        threading.Thread(target=work, name=key, daemon=True).start()
        try:
            async with asyncio.timeout(self._rules.hook_timeout_s):
                return await answer
        except TimeoutError as error:
            if answer.done() and not answer.cancelled():
                raise _told(key, error) from error
            raise BackendUnavailable(
                f"the site's {key} did not answer within {span(self._rules.hook_timeout_s)}",
                hint="Try again; if it happens again, tell the administrator.",
                retry_after_s=5,
                details={"hook": key},
            ) from error
        except Exception as error:
            raise _told(key, error) from error


def _called(hook: Hook, arguments: tuple[Any, ...]) -> Any:
    result = hook(*arguments)
    if inspect.isawaitable(result):

        async def wait() -> Any:
            return await result

        return asyncio.run(wait())
    return result


def _told(key: str, error: Exception) -> SluiceError:
    """What the user is told: the hook's own words. What it did not mean to raise is in the log too."""
    if isinstance(error, SluiceError):
        return error
    if isinstance(error, (ValueError, PermissionError)) and str(error):
        return RequestInvalid(str(error), details={"hook": key})
    log.error("%s failed", key, exc_info=error)
    return _hook_is_wrong(key, f"{type(error).__name__}: {error}")


def _hook_is_wrong(key: str, what: str) -> ServerError:
    return ServerError(f"the site's {key} failed: {what}", hint="Tell the administrator.", details={"hook": key})


def _as_setup(answer: Any) -> Setup | None:
    if answer is None:
        return None
    if isinstance(answer, Mapping) and "variables" in answer and not isinstance(answer["variables"], Mapping):
        raise ValueError("variables must be a mapping")  # there are no templates here
    try:
        return Setup.model_validate(dict(answer))
    except ValidationError as error:
        raise ValueError(_in_words(error, ("policy", "defaults"))) from None
    except (TypeError, ValueError):
        raise ValueError(f"it must give a mapping or None, got {type(answer).__name__}") from None


def _as_options(answer: Any, policy: Policy) -> Mapping[str, OptionSettings]:
    if not isinstance(answer, Mapping):
        raise _hook_is_wrong("policy.options_hook", f"it must give a mapping, got {type(answer).__name__}")
    options: dict[str, OptionSettings] = {}
    for name, settings in answer.items():
        try:
            options[str(name)] = OptionSettings.model_validate(settings)
        except ValidationError as error:
            words = _in_words(error, ("options", str(name)))
            raise _hook_is_wrong("policy.options_hook", f"{name}: {words}") from None
        if name not in policy.settings and type_of(options[str(name)]) is None:
            near = difflib.get_close_matches(str(name), policy.settings, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise _hook_is_wrong("policy.options_hook", f"{name!r} is no option, and has no type.{meant}")
    return options


def _in_words(error: ValidationError, under: tuple[str, ...]) -> str:
    # Needed where something is wrong only; the reader of files imports the checks of this package.
    from ..settings_file import what_is_wrong

    return "; ".join(what_is_wrong(problem, under) for problem in error.errors())


def imported(key: str, path: str | None) -> Hook | None:
    """The function that the setting of this key names, if it names one.

    raises  CannotStart
    """
    return None if path is None else cast(Hook, find(key, path))


def _takes(hook: Hook, given: int) -> int:
    """How many of the arguments the hook wants: `(options)` and `(options, user)` are both in use."""
    try:
        parameters = inspect.signature(hook).parameters.values()
    except (TypeError, ValueError):
        return given
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return given
    return min(given, sum(each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in parameters))
