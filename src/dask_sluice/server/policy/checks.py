"""What is wrong with options, profiles and rules, found before anybody asks for a cluster. Pure.

Each problem has a place, a path of keys, so that the reader of the file can name its line.
"""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...wire.errors import OptionInvalid
from ...wire.options import Option, OptionType
from ..backends.overlays import overlay_rules
from ..backends.protocol import Backend, Capabilities, ChecksOverlays
from ..memory import parse_memory
from ..settings_policy import BUILT_IN, OptionSettings, PolicySettings, Profile, Setup, is_template
from ..settings_schema import Settings
from ..startup import CannotStart
from . import templates
from .images import wrong_with_image
from .layers import PROCESSES, dumped, is_built_in
from .names import USER_NAMES
from .options import PROFILE, effective, known_names, replaces, type_of
from .templates import TemplateError
from .variables import wrong_with_name

Place = tuple[str | int, ...]
Problem = tuple[Place, str]
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
NUMBERS = (OptionType.INT, OptionType.FLOAT)
LOCAL = Capabilities("local", enforces_memory=False, enforces_cores=False, separates_users=False)


@dataclass(frozen=True)
class _All:
    """What the checks of one setup need of all the rest."""

    options: Mapping[str, OptionSettings]
    names: Sequence[str]
    secrets: frozenset[str]
    numbers: frozenset[str]
    """Names that a sum may use."""
    policy: PolicySettings


def problems(settings: Settings) -> list[Problem]:
    """Everything that is wrong, with its place in the file."""
    options, profiles, policy = settings.options, settings.profiles, settings.policy
    everything = effective(options, profiles)
    known = (*USER_NAMES, "cluster.name", *(f"options.{name}" for name in known_names(everything, profiles)))
    secrets = frozenset(f"options.{name}" for name, each in everything.items() if each.secret)
    numbers = frozenset(f"options.{name}" for name, each in everything.items() if type_of(each) in NUMBERS)
    about = _All(everything, known, secrets, numbers, policy)
    found = list(_of_profiles(options, profiles, policy))
    for name in options:
        found += _of_option(name, options[name], everything[name])
    for place, setup in setups(settings):
        found += _of_setup(place, setup, about)
    found += _of_overlays(settings, about)
    found += _of_dead_defaults(everything, policy)
    if settings.backend.kind == "local":
        found += unsupported(settings, LOCAL)
    return found


def setups(settings: Settings) -> Iterator[tuple[Place, Setup]]:
    """Every place where something is said of what clusters get."""
    for name, option in settings.options.items():
        if option.sets is not None:
            yield ("options", name, "sets"), option.sets
        for value, setup in (option.when or {}).items():
            yield ("options", name, "when", value), setup
    for name, profile in settings.profiles.items():
        yield ("profiles", name), profile
    policy = settings.policy
    yield ("policy", "defaults"), policy.defaults
    yield ("policy", "everyone"), policy.everyone
    for group, setup in policy.groups.items():
        yield ("policy", "groups", group), setup
    for user, setup in policy.users.items():
        yield ("policy", "users", user), setup


def unsupported(settings: Settings, backend: Capabilities) -> Iterator[Problem]:
    """What the settings ask for and the backend cannot do: it would be a promise that nobody keeps."""
    for place, setup in setups(settings):
        given = dumped(setup)
        for key in ("image", "scheduler_image"):
            if given.get(key) and not backend.runs_images:
                other = "leave it out, or choose a backend whose clusters are containers"
                yield (*place, key), f"the backend {backend.name!r} runs no container images: {other}"
        if given.get("backend") and not backend.takes_overlay:
            keys = ", ".join(given["backend"]) if isinstance(given["backend"], Mapping) else "keys"
            yield (*place, "backend"), f"the backend {backend.name!r} has no use for {keys}: it takes no such settings"
        if given.get("environment") and not backend.runs_environments:
            yield (*place, "environment"), f"the backend {backend.name!r} runs images, not Python environments by path"


def refuse_unsupported(settings: Settings, backend: Backend) -> None:
    """Raise CannotStart where the settings ask for what this backend cannot do, or does not know."""
    wrong = [f"{_key(place)}: {what}" for place, what in unsupported(settings, backend.describe())]
    if isinstance(backend, ChecksOverlays):
        for place, setup in setups(settings):
            if isinstance(setup.backend, dict) and setup.backend:
                wrong += [f"{_key((*place, 'backend'))}: {what}" for what in backend.check_overlay(setup.backend)]
    if wrong:
        raise CannotStart("\n".join(wrong))


def _key(place: Place) -> str:
    return ".".join(map(str, place))


def _of_profiles(
    options: Mapping[str, OptionSettings], profiles: Mapping[str, Profile], policy: PolicySettings
) -> Iterator[Problem]:
    if policy.default_profile and policy.default_profile not in profiles:
        what = f"there is no profile {policy.default_profile!r}{_near(policy.default_profile, profiles)}"
        yield ("policy", "default_profile"), what
    if profiles and PROFILE in options:
        yield ("options", PROFILE), "the option 'profile' is made from the profiles; call this one otherwise"
    for name in profiles:
        if not re.fullmatch(r"[A-Za-z0-9][\w .+-]{0,62}", name):
            yield (
                ("profiles", name),
                f"{name!r} cannot be the name of a profile: letters, digits, space and . _ + - only",
            )


def _of_option(name: str, given: OptionSettings, option: OptionSettings) -> Iterator[Problem]:
    """Problems of one option. `given` is what the file says of it, `option` that over the built-in one."""
    place: Place = ("options", name)
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        yield place, f"{name!r} cannot be the name of an option: letters, digits and _ only, as in Python"
    if replaces(name, given) and given.enabled and given.sets is None and given.when is None:
        instead = f"takes the place of the built-in option {name} of type {BUILT_IN[name].type}"
        yield (*place, "type"), f"{instead}, so 'sets' or 'when' must say what it does"
        return
    kind = type_of(option)
    if kind is None:
        near = f"{_near(name, BUILT_IN)}" if name not in BUILT_IN else ""
        yield place, f"is no built-in option, so it needs a type (or choices){near}"
        return
    numbers = kind in NUMBERS
    for key, fits in (
        ("minimum", numbers),
        ("maximum", numbers),
        ("choices", kind is OptionType.SELECT),
        ("allowed", kind is OptionType.STRING),
        ("when", kind in (OptionType.SELECT, OptionType.BOOL)),
        ("secret", kind in (OptionType.STRING, OptionType.MAPPING)),
    ):
        if key in given.model_fields_set and not fits and getattr(given, key) not in (None, False):
            yield (*place, key), f"has no meaning for an option of type {_type_name(kind)}"
            return
    yield from _of_values(place, option, kind)
    if name == "worker_cores" and option.minimum is not None and option.minimum <= 0:
        yield (*place, "minimum"), f"must be a number above 0; got {option.minimum:g}"


def _of_values(place: Place, option: OptionSettings, kind: OptionType) -> Iterator[Problem]:
    for key in ("default", "allowed", "choices"):
        yield from _of_texts((*place, key), getattr(option, key), USER_NAMES)
    if option.secret and option.default:
        yield (*place, "default"), "a secret has no default: everybody would see it"
        return
    choices = option.choices if option.choices is not None else tuple(option.when or ())
    if kind is OptionType.SELECT and not choices:
        yield place, "has no choices"
    if kind is OptionType.SELECT and option.when is not None and option.choices is not None:
        for value in set(option.when) - set(choices):
            yield (*place, "when", value), f"is not among the choices{_near(value, choices)}"
    if kind is OptionType.BOOL:
        for value in set(option.when or ()) - {"true", "false"}:
            yield (*place, "when", value), "must be true or false"
    least, most, default = option.minimum, option.maximum, option.default
    if kind in NUMBERS:
        if default is None:
            yield place, "needs a default"
            return
        if isinstance(default, (int, float)) and (
            (least is not None and least > default) or (most is not None and default > most)
        ):
            yield place, "must keep minimum <= default <= maximum"
            return
    if default is not None and not is_template(default) and not any(map(is_template, choices)):
        try:
            Option("default", kind, default, choices=choices).check(default)
        except OptionInvalid as error:
            yield (*place, "default"), error.message.removeprefix("default ")


def _of_setup(place: Place, setup: Setup, about: _All) -> Iterator[Problem]:
    given = dumped(setup)
    yield from _of_templates(place, given, about)
    for key in ("variables", "secret_variables"):
        for name in given.get(key, {}) if isinstance(given.get(key), Mapping) else ():
            if wrong := wrong_with_name(name, None):
                yield (*place, key, name), wrong
    for key in ("image", "scheduler_image"):
        image = given.get(key)
        if image and not is_template(image) and (wrong := wrong_with_image(image, about.policy.images)):
            yield (*place, key), wrong
    environment = given.get("environment")
    if environment and not is_template(environment) and not environment.startswith("/"):
        yield (*place, "environment"), f"must be an absolute path, got {environment!r}"
    for process in PROCESSES:
        yield from _of_process((*place, process), given.get(process, {}), about.policy)


def _of_templates(place: Place, given: Mapping[str, Any], about: _All) -> Iterator[Problem]:
    """Names that lead nowhere, secrets where they would be seen, and sums over what is no number."""
    yield from _of_texts(place, given, about.names)
    for path, text in _texts((), given):
        used = _names(text) & about.secrets
        if used and path[0] != "variables":
            name = min(used).partition(".")[2]
            yield (*place, *path), f"the option {name!r} is secret, and secrets can go into variables only"
        for name in sorted((_reckoned_with(text) & set(about.names)) - about.numbers):
            yield (*place, *path), f"{text!r} reckons with {{{name}}}, which is no number"


def _of_process(place: Place, given: Mapping[str, Any], policy: PolicySettings) -> Iterator[Problem]:
    for key, amount in (("cores", float), ("memory", parse_memory)):
        most, aside = given.get(key), given.get(f"{key}_request")
        if most and aside and not is_template(most) and not is_template(aside) and amount(aside) > amount(most):
            what = f"{aside} would be set aside, more than the {most} that it may use ({key})"
            yield (*place, f"{key}_request"), what
    if ("node" in given) != ("share" in given):
        yield place, "node and share belong together: give both or neither"
    elif "node" in given and not is_template(given["node"]) and given["node"] not in policy.nodes:
        yield (
            (*place, "node"),
            f"there is no node {given['node']!r} in policy.nodes{_near(given['node'], policy.nodes)}",
        )


def _of_overlays(settings: Settings, about: _All) -> Iterator[Problem]:
    """What is wrong with what is said to the backend, where its rules are known without it."""
    rules = overlay_rules(settings.backend)
    section: Place = tuple(rules.section.split("."))
    yield from _of_templates(section, rules.site, about)
    if rules.image and (wrong := wrong_with_image(rules.image, about.policy.images)):
        yield (*section, "image"), wrong
    for inner, what in rules.problems_of_settings():
        yield (*section, *inner), what
    for place, setup in setups(settings):
        if isinstance(setup.backend, dict):
            for inner, what in rules.problems(setup.backend, filled=False):
                yield (*place, "backend", *inner), what


def _of_dead_defaults(options: Mapping[str, OptionSettings], policy: PolicySettings) -> Iterator[Problem]:
    """Sizes in `policy.defaults` that never count, or that users see otherwise, since an option says them anew."""
    given = dumped(policy.defaults)
    for name, option in options.items():
        if is_built_in(name, option) and not option.enabled:  # it lies below the defaults, and nobody chooses
            continue
        for process in PROCESSES:
            anew = dumped(option.sets).get(process, {}) if option.sets is not None else {}
            for key in given.get(process, {}):
                place, size = ("policy", "defaults", process, key), key.removesuffix("_request")
                if key in anew and key == size:
                    yield place, f"users see the default of the option {name}: set options.{name}.default instead"
                elif size in anew or key in anew:
                    what = f"the option {name} says {process}.{size} anew, and with it what is set aside"
                    yield place, f"{what}: set options.{name}.sets.{process}.{key} instead"


def _of_texts(place: Place, value: Any, known: Sequence[str]) -> Iterator[Problem]:
    for path, text in _texts((), value):
        try:
            templates.check(text, known)
        except TemplateError as error:
            yield (*place, *path), str(error)


def _texts(path: Place, value: Any) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts((*path, key), inner)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _texts((*path, index), inner)


def _names(text: str) -> frozenset[str]:
    try:
        return templates.names(text)
    except TemplateError:
        return frozenset()


def _reckoned_with(text: str) -> set[str]:
    try:
        return templates.summands(text)
    except TemplateError:
        return set()


def _near(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f". Did you mean {near[0]!r}?" if near else ""


def _type_name(kind: OptionType) -> str:
    return "choice" if kind is OptionType.SELECT else str(kind)
