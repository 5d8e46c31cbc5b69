"""The layers of one request, from the lowest to the highest: who says what a cluster gets, templates filled in.

built in < policy.defaults < options left at their default < profile < options that were chosen
< policy.everyone < policy.groups (the user's first group last) < policy.users < the hook
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from pydantic import SecretStr

from ...wire.errors import OptionInvalid, RequestInvalid
from ..dask_config import as_variables
from ..memory import parse_memory
from ..merging import Layer
from ..model import Caller
from ..settings_policy import BUILT_IN, Node, OptionSettings, PolicySettings, Setup
from . import templates
from .names import user_values
from .options import PROFILE, Chosen, Offer
from .templates import Scope, TemplateError
from .variables import as_text, is_name, wrong_with_name

PROCESSES = ("worker", "scheduler")
_OF_PROFILE = ("label", "help", "groups", "users")


def layers(
    caller: Caller,
    cluster: str,
    offered: Offer,
    chosen: Chosen,
    policy: PolicySettings,
    hook: Setup | None,
    asking: Layer,
) -> Iterator[Layer]:
    """Every layer above the built-in one. `asking` is what the caller asks for beside the options."""
    scope = scope_of(caller, cluster, offered, chosen)
    make = Maker(policy, scope)
    left = {name: settings for name, settings in offered.settings.items() if name not in chosen.given}
    built_in = [name for name, settings in left.items() if is_built_in(name, settings)]
    for name in built_in:
        yield from make.of_option(name, left[name], chosen.values[name], "built in")
    yield from make.of(policy.defaults, "policy.defaults")
    for name, settings in left.items():
        if name not in built_in:
            yield from make.of_option(name, settings, chosen.values[name], f"option {name} (default)")
    if chosen.profile:
        yield from make.of(offered.profiles[chosen.profile], f"profile {chosen.profile}")
    for name, settings in offered.settings.items():
        if name in chosen.given:
            yield from make.of_option(name, settings, chosen.values[name], f"option {name}")
    yield asking
    yield from make.of(policy.everyone, "policy.everyone")
    for group in reversed(caller.groups):
        if group in policy.groups:
            yield from make.of(policy.groups[group], f"policy.groups.{group}")
    if caller.name in policy.users:
        yield from make.of(policy.users[caller.name], f"policy.users.{caller.name}")
    if hook is not None:
        yield from make.literally(hook, "hook")


def scope_of(caller: Caller, cluster: str, offered: Offer, chosen: Chosen) -> Scope:
    """What templates may name for this request."""
    values = {f"options.{name}": value for name, value in chosen.values.items()}
    secrets = frozenset(f"options.{name}" for name in offered.secrets)
    return Scope({**user_values(caller), "cluster.name": cluster, **values}, caller.groups, secrets)


class Maker:
    """Makes layers of setups."""

    def __init__(self, policy: PolicySettings, scope: Scope) -> None:
        self._policy = policy
        self._scope = scope

    def of(self, setup: Setup, source: str) -> Iterator[Layer]:
        """The setup as a layer; nothing where it says nothing."""
        given = dumped(setup)
        if not given:
            return
        try:
            values = self._worked_out({key: templates.fill(value, self._scope) for key, value in given.items()})
        except (TemplateError, ValueError) as error:
            raise RequestInvalid(f"{source}: {error}", details={"source": source}) from error
        self._check_names(given, values.get("variables", {}), source)
        yield Layer(source, _with_texts(values, source))

    def of_option(self, name: str, settings: OptionSettings, value: Any, source: str) -> Iterator[Layer]:
        """What an option's value brings."""
        try:
            if settings.sets is not None:
                yield from self.of(settings.sets, source)
            matching = (settings.when or {}).get(templates.shown(value) if not isinstance(value, Mapping) else "")
            if matching is not None:
                yield from self.of(matching, source)
        except OptionInvalid:
            raise
        except RequestInvalid as error:
            raise OptionInvalid(name, error.message) from error

    def literally(self, setup: Setup, source: str) -> Iterator[Layer]:
        """A hook's answer: its braces are braces."""
        values = self._worked_out(dumped(setup))
        for name in filter(is_name, values.get("variables", {})):
            if wrong := wrong_with_name(name, None):
                raise ValueError(f"variables {wrong}")
        if values:
            yield Layer(source, _with_texts(values, source))

    def _worked_out(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values with sizes as numbers, and Dask's configuration among the variables.

        raises  ValueError
        """
        for process in PROCESSES:
            if process in values:
                values[process] = sized(values[process], self._policy.nodes)
        if not isinstance(values.get("variables", {}), Mapping):
            raise ValueError("variables must be a mapping of names with values")  # noqa: TRY004  what a template gave
        if "dask_config" in values:
            try:
                as_settings = as_variables(values.pop("dask_config"))
            except ValueError as error:
                raise ValueError(f"dask_config {error}") from error
            values["variables"] = {**as_settings, **values.get("variables", {})}
        return values

    def _check_names(self, given: Mapping[str, Any], variables: Mapping[str, Any], source: str) -> None:
        """Names that came out of a user's mapping are the user's. Those that cannot be are left out later, with a
        word: people send their whole environment.
        """
        texts = [given[key] for key in ("variables", "dask_config") if key in given]
        named = sorted(name.partition(".")[2] for name in templates.names_in(texts) if name.startswith("options."))
        written = {*_plainly(given, "variables"), *as_variables(_plainly(given, "dask_config"))}
        for name in filter(is_name, map(str, variables)):
            if name not in written and (wrong := wrong_with_name(name, self._policy.variables)):
                option = named[0] if named else PROFILE
                raise OptionInvalid(option, f"{option} {wrong}", details={"source": source})


def _plainly(given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The mapping as the administrator wrote it; empty where it is a template of one."""
    value = given.get(key)
    return value if isinstance(value, Mapping) else {}


def dumped(setup: Setup) -> dict[str, Any]:
    """What the setup says, without what makes a profile a profile."""
    return {key: value for key, value in setup.model_dump(exclude_unset=True).items() if key not in _OF_PROFILE}


def is_built_in(name: str, settings: OptionSettings) -> bool:
    """Whether effect and default are ours, so that what the administrator says in general goes before them."""
    ours = BUILT_IN.get(name)
    return ours is not None and settings.sets is ours.sets and settings.default == ours.default


def sized(process: Mapping[str, Any], nodes: Mapping[str, Node]) -> dict[str, Any]:
    """A process with its part of a node worked out. A new size takes back what was set aside for the old one."""
    given = {key: value for key, value in process.items() if key not in ("node", "share")}
    if "share" in process:
        given = {**_part(nodes, str(process.get("node", "")), process["share"]), **given}
    for key in ("cores", "memory"):
        if key in given:
            given.setdefault(f"{key}_request", None)
    return given


def _part(nodes: Mapping[str, Node], name: str, share: Any) -> dict[str, Any]:
    if name not in nodes:
        raise ValueError(f"there is no node {name!r} in policy.nodes")
    node, part = nodes[name], Fraction(str(share))
    left = parse_memory(node.memory) - parse_memory(node.reserved_memory)
    # Rounded down, so that as many as the share says fit on the node, to the thousandth of a core.
    millicores = int((Fraction(str(node.cores)) - Fraction(str(node.reserved_cores))) * part * 1000)
    return {
        "cores": float(Fraction(str(node.cores)) * part),
        "cores_request": millicores / 1000,
        "memory": int(left * part),
    }


def _with_texts(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Variables as texts, secret ones among them."""
    secret = values.pop("secret_variables", {})
    variables = {**values.get("variables", {}), **secret}
    if not variables and "variables" not in values:
        return values
    texts: dict[str, Any] = {}
    for name, value in variables.items():
        try:
            if isinstance(value, SecretStr):
                texts[name] = SecretStr(as_text(value.get_secret_value()))
            else:
                texts[name] = None if value is None else as_text(value)
        except ValueError as error:
            raise RequestInvalid(f"{source}: variable {name} {error}", details={"source": source}) from error
    return {**values, "variables": texts}
