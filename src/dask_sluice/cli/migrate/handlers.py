"""dask-gateway's options and what their handler gives back, as our `options`, `profiles` and `policy`.

What depends on one option is said with that option; what depends on the user alone, or on nothing, is what every
cluster gets. What could not be followed is printed for a human, with the keys that would say it.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Mapping
from typing import Any

from . import pods
from .amounts import memory
from .draft import Draft, Place
from .fields import BUILT_IN, SWITCHED_OFF, TYPES, choices, is_profile, value_of, write_option, write_profiles
from .python_config import PythonConfig
from .report import Report, Where
from .symbols import (
    MISSING,
    ByChoice,
    Field,
    Function,
    Opaque,
    OptionsValue,
    Parameter,
    Template,
    hoisted,
    is_mapping,
    literally,
    merged,
    opaques,
    source,
    uses,
)

ROLES = ("scheduler", "worker")
USER = {"name": Template("{user.name}"), "groups": Template("{user.groups}"), "admin": Template("{user.is_admin}")}
RETURNED: Mapping[str, Place] = {
    "worker_threads": ("worker", "threads"),
    "environment": ("variables",),
    "image": ("image",),
    "idle_timeout": ("idle_s",),
    "cluster_max_workers": ("max_workers",),
    "namespace": ("backend", "namespace"),
    "image_pull_policy": ("backend", "pods", "image_pull_policy"),
    "image_pull_secrets": ("backend", "pods", "image_pull_secrets"),
    **{f"{role}_extra_pod_{what}": ("backend", role, what) for role in ROLES for what in ("labels", "annotations")},
    **{f"{role}_extra_{kind}_config": ("backend", role, kind) for role in ROLES for kind in ("pod", "container")},
}
"""Keys that a handler may give back, and where they stand in what a cluster gets; sizes have a rule of their own."""
SIZES = tuple(
    f"{role}_{what}{end}" for role in ("scheduler", "worker") for what in ("cores", "memory") for end in ("", "_limit")
)
BY_HAND = {
    "cluster_max_cores": "limits.cluster.cores bounds all clusters alike; how many workers one may have can follow an "
    "option: max_workers",
    "cluster_max_memory": "limits.cluster.memory bounds all clusters alike; how many workers one may have can follow "
    "an option: max_workers",
    "worker_cmd": "our agent starts Dask in the image's own Python; `environment` names another one",
    "scheduler_cmd": "our agent starts Dask in the image's own Python; `environment` names another one",
    "adaptive_period": "scaling follows the work at once",
}
USER_KEY = "hub.jupyter.org/username"
COMMANDS = ("worker_cmd", "scheduler_cmd")
_SECRET = re.compile(r"token|secret|passw|credential|api_?key", re.IGNORECASE)


class Handlers:
    """Writes one handler's options and effects into the draft."""

    def __init__(self, config: PythonConfig, draft: Draft, report: Report) -> None:
        self.config, self.draft, self.report = config, draft, report
        self.fields: dict[str, Field] = {}
        self.limited: set[str] = set()
        """Sizes such as `worker_cores` whose limit the configuration sets apart from the request."""
        self._where = Where()
        self._used: set[str] = set()

    def write(self, value: Any, where: Where) -> None:
        """`c.Backend.cluster_options = value`."""
        if isinstance(value, Function):
            self._where = where
            names = [each.arg for each in value.node.args.args]
            value = self.config.run(value, {name: Parameter("user", USER) for name in names})
        if not isinstance(value, OptionsValue):
            shown = f": {value.source}" if isinstance(value, Opaque) else ""
            self._decide(
                f"the options are made in a way that cannot be read without running it{shown}. Name them under "
                "'options'",
                where,
            )
            return
        for each in value.fields:
            if isinstance(each, Field) and isinstance(each.name, str):
                self.fields[each.name] = each
            else:
                self._decide(f"an option that cannot be read without running it: {source(each)}", value.where)
        handler, returned = value.handler, {}
        if handler is None:
            returned = {
                str(field.arguments.get("target") or name): self._values()[name] for name, field in self.fields.items()
            }
        elif isinstance(handler, Function):
            names = [each.arg for each in handler.node.args.args]
            given = dict(zip(names, (Parameter("options", self._values()), Parameter("user", USER)), strict=False))
            returned = self.config.run(handler, given)
        self._options()
        effects = _one_mapping(returned)
        if effects is None:
            self._decide(
                "the handler could not be followed; write it as policy.hook, or with 'sets' and "
                f"'when':\n{_shown(handler)}",
                value.where,
            )
            return
        self._where = (
            value.where
            if handler is None or not isinstance(handler, Function)
            else self.config.where(handler.node.lineno)
        )
        for each in self.config.shared:  # meant for this user's cluster, and written into everybody's
            effects.setdefault(each.key.partition(".")[2], each.value)
        self._effects(effects)
        self._guards()
        self._unused()

    def _values(self) -> dict[str, Any]:
        """What a handler sees of each option."""
        return {name: value_of(field) for name, field in self.fields.items()}

    def _options(self) -> None:
        profiles = is_profile(self.fields)
        for name, field in self.fields.items():
            if name == "profile" and profiles:
                write_profiles(field, self.draft, self.report)
                continue
            write_option(name, field, self.draft, self.report)
        for name in SWITCHED_OFF:
            if name not in self.fields and not (profiles and name != "environment"):
                self.draft.set(("options", name, "enabled"), False)

    def _effects(self, returned: Mapping[str, Any]) -> None:
        for role in ("scheduler", "worker"):
            for what in ("cores", "memory"):
                self._size(role, what, returned)
        for key, value in returned.items():
            if key in SIZES or value is None:
                continue
            if key.startswith("**"):
                self._decide(f"the handler adds what could not be followed: {source(value)}", self._where)
            elif key in RETURNED:
                self._returned(key, value)
            elif key in COMMANDS and (environment := pods.is_environment(value)) is not None:
                self._put(("environment",), environment)
                self._used |= uses(value)
            elif key in BY_HAND:
                self._used |= uses(value)
                self._decide(f"{BY_HAND[key]}: {source(value)}", self._where, key)
            else:
                self._used |= uses(value)
                near = difflib.get_close_matches(key, [*RETURNED, *SIZES, *BY_HAND], n=1, cutoff=0.8)
                meant = f" Was {near[0]!r} meant?" if near else ""
                self.report.add(
                    "wrong",
                    f"the handler gives back a key that dask-gateway does not know and drops without a word.{meant} "
                    f"Not carried over: {source(value)}",
                    key,
                    self._where,
                )

    def _returned(self, key: str, value: Any) -> None:
        """A key with a place of its own; raw parts of pods fall into many."""
        place = RETURNED[key]
        raw = merged({}, value) if isinstance(value, ByChoice) and is_mapping(value) else value
        if place[-1] in ("pod", "container") and isinstance(raw, dict) and raw:
            say = self.report.about(key, self._where)
            for inner, part in pods.typed(place[1], place[-1], raw, say, appends=True):
                self._put(pods.place_in_setup(place[1], inner), part)
            return
        if place[-1] == "labels" and isinstance(raw, dict):
            raw = self._without_user(raw, Template("{user.escaped}"))
        elif place[-1] == "annotations" and isinstance(raw, dict):
            raw = self._without_user(raw, Template("{user.name}"))
            if raw.get("prometheus.io/scrape") in ("true", True) and str(raw.get("prometheus.io/port", "")).isdigit():
                self._put((*place[:2], "prometheus_port"), int(raw["prometheus.io/port"]))
                raw = {
                    name: inner
                    for name, inner in raw.items()
                    if name not in ("prometheus.io/scrape", "prometheus.io/port")
                }
        if key == "namespace":
            self._decide(
                "backend.kubernetes.other_namespaces must name the namespaces that may be chosen", self._where, key
            )
        self._put(place, raw)

    def _without_user(self, raw: dict[str, Any], ours: Template) -> dict[str, Any]:
        """Without the user's name under the key that our pods bear anyway."""
        value = raw.get(USER_KEY)
        if not isinstance(value, (Template, Opaque)) or (isinstance(value, Opaque) and not value.uses <= {"user.name"}):
            return raw
        if value != ours:
            self.report.add(
                "changes",
                f"your own form of the user's name, {source(value)}, is {ours.text} here, the same as on the "
                "notebook's pod and valid for every name",
                USER_KEY,
                self._where,
            )
        self.report.add(
            "maps", "every pod of ours bears the user's name: backend.kubernetes.user_label", USER_KEY, self._where
        )
        return {key: inner for key, inner in raw.items() if key != USER_KEY}

    def _size(self, role: str, what: str, returned: Mapping[str, Any]) -> None:
        name = f"{role}_{what}"
        request, limit = returned.get(name), returned.get(f"{name}_limit")
        if what == "memory":
            request, limit = memory(request), memory(limit)
        if limit is None and name not in self.limited:
            request, limit = None, request
        if limit is not None:
            self._put((role, what), limit)
        if request is not None and request != limit:
            self._put((role, f"{what}_request"), request)

    def _put(self, path: Place, value: Any, otherwise: Place = ("policy", "everyone")) -> None:
        """Write a value where it belongs: with the option that it depends on, or for everyone."""
        if isinstance(value, dict) and value:
            spread = [key for key in value if str(key).startswith("**")]
            for key, inner in value.items():
                if key in spread:
                    self._put(path, inner)
                else:
                    below = bool(spread) and list(value).index(key) < list(value).index(spread[0])
                    self._put((*path, str(key)), inner, ("policy", "defaults") if below else otherwise)
            return
        self._used |= uses(value)
        value = self._understood(path, hoisted(value))
        if value is MISSING or value is None or value == {}:
            return
        origin = str(self._where)
        if isinstance(value, ByChoice):
            for choice, inner in value.values.items():
                if inner is MISSING or inner is None:
                    continue
                where: Place = (
                    ("profiles", choice)
                    if value.option == "profile" and is_profile(self.fields)
                    else ("options", value.option, "when", choice)
                )
                self.draft.set((*where, *path), literally(inner), origin)
            return
        options = [name for name in uses(value) if name.startswith("options.")]
        place = ("options", options[0].partition(".")[2], "sets") if len(options) == 1 else otherwise
        self.draft.set((*place, *path), literally(value), origin)

    def _understood(self, path: Place, value: Any) -> Any:
        """The value, once what is beyond us has been said and left out."""
        if isinstance(value, ByChoice) and all(
            inner == _typed(choice, inner) for choice, inner in value.values.items()
        ):
            return Template(f"{{options.{value.option}}}")
        if isinstance(value, Opaque) and value.uses <= {"user.name", "user"} and value.uses and "labels" in path:
            self.report.add(
                "changes",
                f"your own form of the user's name, {value.source}, becomes {{user.escaped}}: as kubespawner writes "
                "it, valid for every name, and the same on the notebook's pod and here",
                path[-1],
                value.where,
            )
            return Template("{user.escaped}")
        if isinstance(value, Template) and "labels" in path and "{user.name}" in value.text:
            self.report.add(
                "wrong",
                "a name such as ada@example.org is no value of a label: such users' clusters could not start. Here it "
                "is {user.escaped}",
                path[-1],
                self._where,
            )
            return Template(value.text.replace("{user.name}", "{user.escaped}"), value.alone)
        if isinstance(value, ByChoice) and any(isinstance(inner, ByChoice) for inner in value.values.values()):
            self._decide(
                f"depends on two options at once, which policy.hook can say: {source(value)}",
                self._where,
                ".".join(path),
            )
            return MISSING
        beyond = list(opaques(value))
        for each in beyond:
            self._decide(
                f"could not be followed: {each.source}. A template such as {{options.NAME}} or {{user.name}} may say "
                "it, else policy.hook",
                each.where if each.where.line else self._where,
                ".".join(path),
            )
        if isinstance(value, ByChoice):
            return ByChoice(
                value.option, {c: MISSING if list(opaques(inner)) else inner for c, inner in value.values.items()}
            )
        return MISSING if beyond else value

    def _guards(self) -> None:
        for guard in self.config.guards:
            self._used |= guard.uses
            if re.search(r"""["']:["'] not in|rsplit\(["']:|\.find\(["']:""", guard.test):
                self.report.add(
                    "maps",
                    "refuses an image without a tag: so does policy.images.require_tag, which is on, and which "
                    "host:5000/name does not get past",
                    guard.test,
                    guard.where,
                )
                continue
            self._decide(
                "the handler refuses this: say it with 'minimum', 'maximum', 'choices', 'allowed' or 'groups' of the "
                "option, or a policy.hook that raises ValueError",
                guard.where,
                guard.test,
            )

    def _unused(self) -> None:
        for name, field in self.fields.items():
            place = ("options", name)
            if f"options.{name}" not in self._used and len(list(choices(field))) != 1:
                self.report.add(
                    "wrong",
                    "users can choose it, and nothing came of it that could be found. Give it 'sets', or take it away",
                    f"option {name}",
                    field.where,
                )
            replaced = name in BUILT_IN and BUILT_IN[name] != TYPES[field.kind]
            if replaced and not (self.draft.get((*place, "sets")) or self.draft.get((*place, "when"))):
                self.draft.remove(place)
                self.draft.set((*place, "enabled"), False)
                what = "an option of this name must say with 'sets' what it does; it is switched off"
                self._decide(what, field.where, f"option {name}")
            if _SECRET.search(name) and field.kind in ("String", "Mapping"):
                self._secret(name, field)

    def _secret(self, name: str, field: Field) -> None:
        sets = self.draft.get(("options", name, "sets"), {})
        elsewhere = f"{{options.{name}" in str(
            {key: value for key, value in self.draft.data.items() if key == "policy"}
        )
        if set(sets) == {"variables"} and not self.draft.get(("options", name, "default")) and not elsewhere:
            self.draft.set(("options", name, "secret"), True, str(field.where))
            self.report.add(
                "wrong",
                "its values were kept with the cluster and shown in listings; it is 'secret' here, shown and stored "
                "nowhere",
                f"option {name}",
                field.where,
            )
        else:
            self._decide(
                "looks like a secret, and its values are kept and shown as those of any option; 'secret: true' needs "
                "that it is used in variables only and has no default",
                field.where,
                f"option {name}",
            )

    def _decide(self, what: str, where: Where, about: str = "") -> None:
        self.report.add("decide", what, about, where)


def _typed(choice: str, value: Any) -> Any:
    """What an option's choice is as a value, to see whether `value` is just that."""
    return choice == "true" if isinstance(value, bool) and choice in ("true", "false") else choice


def _one_mapping(returned: Any) -> dict[str, Any] | None:
    if isinstance(returned, ByChoice):
        return merged({}, returned) if is_mapping(returned) else None
    return returned if isinstance(returned, dict) else None


def _shown(handler: Any) -> str:
    return ast.unparse(handler.node) if isinstance(handler, Function) else source(handler)
