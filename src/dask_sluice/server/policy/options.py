"""What a user may choose: the built-in options, the administrator's, and the profiles, as the wire describes them.

`Offer` is all of it for one user. What is made of the values is `resolve.py`'s matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from ...wire.errors import OptionInvalid, PermissionDenied
from ...wire.options import MASK, Option, OptionType, check_options
from ..amounts import GIB
from ..model import Caller
from ..settings_parts import Section
from ..settings_policy import BUILT_IN, SIZES, OptionSettings, PolicySettings, Profile
from . import templates
from .names import user_values

PROFILE = "profile"
Part = TypeVar("Part", bound=Section)
LEAST_MEMORY = 0.25
_TYPES: Mapping[str, OptionType] = {
    "int": OptionType.INT,
    "float": OptionType.FLOAT,
    "bool": OptionType.BOOL,
    "string": OptionType.STRING,
    "choice": OptionType.SELECT,
    "mapping": OptionType.MAPPING,
}
_DEFAULTS: Mapping[OptionType, Any] = {OptionType.BOOL: False, OptionType.STRING: "", OptionType.MAPPING: {}}


@dataclass(frozen=True)
class Machine:
    """The one machine that clusters run on: where nothing else bounds a worker, this does."""

    cores: int
    memory_bytes: int


@dataclass(frozen=True)
class Chosen:
    """Every option's value for one request, secrets in clear.

    given  names of those that the user chose: given, and other than the default
    shown  the values that may be kept and shown: of options that the user sees, secrets masked
    """

    values: Mapping[str, Any]
    given: frozenset[str]
    shown: Mapping[str, Any]
    profile: str = ""


@dataclass(frozen=True)
class Offer:
    """What one user may choose: `options` to choose from, `others` that count with their default only."""

    options: tuple[Option, ...]
    others: tuple[Option, ...]
    settings: Mapping[str, OptionSettings]
    allowed: Mapping[str, tuple[str, ...]]
    profiles: Mapping[str, Profile]
    closed: bool = False
    """There are profiles, and none is open to this user."""

    def choose(self, given: Mapping[str, Any]) -> Chosen:
        """What the user's values come to.

        raises  OptionInvalid naming the option, PermissionDenied where no profile is open to the user
        """
        if self.closed:
            raise PermissionDenied(
                "no profile is open to you, so you cannot start clusters here",
                hint="The administrator says who may use which profile.",
            )
        checked = check_options(self.options, given)
        for option in self.options:
            self._check_allowed(option, checked[option.name])
        defaults = {option.name: option.default for option in (*self.options, *self.others)}
        chosen = frozenset(name for name, value in checked.items() if value != defaults[name])
        shown = {o.name: MASK if o.secret and o.name in chosen else checked[o.name] for o in self.options}
        profile = checked.get(PROFILE, "") if self.profiles else ""
        return Chosen({**defaults, **checked}, chosen, shown, profile)

    @property
    def secrets(self) -> frozenset[str]:
        """Names of options whose values must never be shown."""
        return frozenset(option.name for option in (*self.options, *self.others) if option.secret)

    def _check_allowed(self, option: Option, value: Any) -> None:
        patterns = self.allowed.get(option.name)
        if patterns is None or value == option.default or not isinstance(value, str):
            return
        if "/../" in f"{value}/" or "\0" in value or not any(_fits(value, pattern) for pattern in patterns):
            listed = ", ".join(patterns) or repr(option.default)
            got = "" if option.secret else f", got {value!r}"
            raise OptionInvalid(option.name, f"{option.name} must be one of {listed}{got}")


def offer(
    caller: Caller,
    options: Mapping[str, OptionSettings],
    profiles: Mapping[str, Profile],
    policy: PolicySettings,
    machine: Machine | None,
) -> Offer:
    """What this caller may choose. `options` as `effective` gives them."""
    open_to = {name: profile for name, profile in profiles.items() if _sees(caller, profile)}
    scope = templates.Scope(user_values(caller), caller.groups)
    offered: list[Option] = []
    others: list[Option] = []
    allowed: dict[str, tuple[str, ...]] = {}
    if open_to:
        offered.append(_profile_option(open_to, policy.default_profile))
    for name, settings in options.items():
        option = described(name, settings, machine, scope)
        if settings.allowed is not None:
            allowed[name] = tuple(str(each) for each in templates.fill(settings.allowed, scope))
        (offered if settings.enabled and _sees(caller, settings) else others).append(option)
    return Offer(tuple(offered), tuple(others), options, allowed, open_to, closed=bool(profiles) and not open_to)


def effective(
    given: Mapping[str, OptionSettings], profiles: Mapping[str, Profile], base: Mapping[str, OptionSettings] = BUILT_IN
) -> dict[str, OptionSettings]:
    """Every option there is: the built-in ones as the administrator changed them, then the administrator's."""
    result = {}
    for name, settings in base.items():
        # Beside profiles, sizes are chosen by profile unless the administrator names the option.
        offered = (
            {} if base is not BUILT_IN or name in given or name not in SIZES or not profiles else {"enabled": False}
        )
        if base is BUILT_IN and name in given and replaces(name, given[name]):
            result[name] = given[name]
        else:
            result[name] = over(settings, given[name]) if name in given else settings.model_copy(update=offered)
    return {**result, **{name: settings for name, settings in given.items() if name not in result}}


def replaces(name: str, given: OptionSettings) -> bool:
    """Whether an option takes a built-in one's name for something else: by another type, it is the administrator's own.

    Sites of dask-gateway call a mapping of variables `environment`, which old clients' configuration then names.
    """
    return name in BUILT_IN and type_of(given) not in (None, type_of(BUILT_IN[name]))


def over(below: Part, above: Part) -> Part:
    """A part of the settings with what was given of another one put over it, down to the keys of `sets`."""
    changes: dict[str, Any] = {}
    for name in above.model_fields_set:
        value, lower = getattr(above, name), getattr(below, name)
        changes[name] = over(lower, value) if isinstance(value, Section) and isinstance(lower, Section) else value
    return below.model_copy(update=changes)


def type_of(settings: OptionSettings) -> OptionType | None:
    """The option's type, as far as it tells."""
    if settings.type is not None:
        return _TYPES[settings.type]
    if settings.choices is not None:
        return OptionType.SELECT
    if settings.when is not None:
        return OptionType.BOOL if set(settings.when) <= {"true", "false"} else OptionType.SELECT
    return None


def described(name: str, settings: OptionSettings, machine: Machine | None, scope: templates.Scope) -> Option:
    """One option as the wire has it. What is wrong with the settings was found out at start-up."""
    kind = type_of(settings) or OptionType.STRING
    choices: tuple[str, ...] = ()
    if kind is OptionType.SELECT:
        listed = templates.fill(settings.choices if settings.choices is not None else tuple(settings.when or ()), scope)
        choices = tuple(dict.fromkeys(str(each) for each in listed))
    default = templates.fill(settings.default, scope) if isinstance(settings.default, str) else settings.default
    if default is None:
        default = _DEFAULTS.get(kind, choices[0] if choices else "")
    if choices and default not in choices:
        default = choices[0]
    if kind is OptionType.FLOAT:
        default = float(default)
    option = Option(
        name, kind, default, settings.label, settings.help, settings.unit, settings.minimum, settings.maximum, choices,
        hidden=settings.hidden, secret=settings.secret,
    )  # fmt: skip
    return _bounded(option, machine)


def _bounded(option: Option, machine: Machine | None) -> Option:
    """A worker's size within the one machine that there is."""
    if machine is None or option.maximum is not None or option.name not in ("worker_cores", "worker_memory"):
        return option
    most = float(machine.cores)
    if option.name == "worker_memory":
        most = max(LEAST_MEMORY, int(4 * machine.memory_bytes / GIB) / 4)
    default = min(option.default, most)
    least = default if option.minimum is None else min(option.minimum, default)
    return replace(option, default=default, minimum=least, maximum=most)


def _profile_option(profiles: Mapping[str, Profile], default: str) -> Option:
    told = [f"{name}: {profile.label or name}{f', {profile.help}' if profile.help else ''}"
            for name, profile in profiles.items() if profile.label or profile.help]  # fmt: skip
    first = default if default in profiles else next(iter(profiles))
    text = "What the cluster gets." + (f" {'; '.join(told)}." if told else "")
    return Option(PROFILE, OptionType.SELECT, first, "Profile", text, choices=tuple(profiles))


def _sees(caller: Caller, settings: OptionSettings | Profile) -> bool:
    """Whether an option or a profile is there for this caller."""
    if settings.groups is None and settings.users is None:
        return True
    return caller.name in (settings.users or ()) or not set(settings.groups or ()).isdisjoint(caller.groups)


def _fits(path: str, pattern: str) -> bool:
    """Whether the text is meant; `*` stands for anything within one name."""
    parts, patterns = path.rstrip("/").split("/"), pattern.rstrip("/").split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def known_names(options: Mapping[str, OptionSettings], profiles: Mapping[str, Profile]) -> Sequence[str]:
    """Every option that a template may name."""
    return [*([PROFILE] if profiles else []), *options]
