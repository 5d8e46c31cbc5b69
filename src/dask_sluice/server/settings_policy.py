"""Settings: options, profiles and rules, from which `policy/` makes what a cluster gets.

The same keys say what a cluster gets everywhere (`Setup`): for all, in a profile, behind an option's value, for a
group or a user, in a hook's answer. A text may hold templates in braces; whether they make sense is found
out by `policy/checks.py`, which can name the line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    SecretStr,
    WithJsonSchema,
    model_validator,
)
from pydantic_core.core_schema import CoreSchema, no_info_plain_validator_function

from ..wire.options import LARGEST
from .dask_config import as_variables
from .memory import parse_memory
from .settings_parts import GroupName, Section, UserName

_DOTTED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_template(value: Any) -> bool:
    """Whether a text is filled in later."""
    return isinstance(value, str) and "{" in value


def _number(value: Any, *, least: float, whole: bool, above: bool = False) -> Any:
    if is_template(value):
        return value
    kind = "a whole number" if whole else "a number"
    bound = f" above {least:g}" if above else f", at least {least:g}"
    accepted = f"must be {kind}{bound}, or a template in braces"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not abs(value) < LARGEST:
        raise ValueError(f"{accepted}; got {value!r}")
    if value < least or (above and value == least):
        raise ValueError(f"{accepted}; got {value!r}")
    return value


def _memory(value: Any) -> Any:
    if not is_template(value):
        parse_memory(value)
    return value


def _share(value: Any) -> Any:
    try:
        share = Fraction(str(value)) if not isinstance(value, bool) else Fraction(0)
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not is_template(value) and not 0 < share <= 1:
        raise ValueError(f"must be a part of one such as 0.25 or '1/16', or a template in braces; got {value!r}")
    return value


def _variables(value: Any) -> Any:
    if is_template(value):
        return value
    if not isinstance(value, dict):
        raise ValueError(
            f"must be names with values, or a template of one mapping such as '{{options.x}}'; got {value!r}"
        )
    for name, inner in value.items():
        if isinstance(inner, (dict, list)):
            raise ValueError(f"{name}: must be text, a number, true, false or null; got {inner!r}")
    return value


def _mapping(value: Any) -> Any:
    if not (isinstance(value, dict) or is_template(value)):
        raise ValueError(
            f"must be keys with values, or a template of one mapping such as '{{options.x}}'; got {value!r}"
        )
    return value


def _dask_config(value: Any) -> Any:
    if not is_template(value):
        as_variables(value)
    return value


def _dotted(value: str) -> str:
    if not _DOTTED.fullmatch(value):
        raise ValueError("must be an import path such as 'package.module:function'")
    return value


_TEXT = {"type": "string"}


@dataclass(frozen=True)
class _Amount:
    """A number, or a template of one."""

    kind: Literal["number", "integer"]
    least: float = 0
    above: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        bound = {"exclusiveMinimum" if self.above else "minimum": self.least}
        return {"anyOf": [{"type": self.kind, **bound}, _TEXT]}

    def _check(self, value: Any) -> Any:
        return _number(value, least=self.least, whole=self.kind == "integer", above=self.above)


Cores = Annotated[Any, _Amount("number", above=True)]
Threads = Annotated[Any, _Amount("integer")]
Count = Annotated[Any, _Amount("integer")]
Workers = Annotated[Any, _Amount("integer", least=1)]
Seconds = Annotated[Any, _Amount("number", above=True)]
SecondsOrNever = Annotated[Any, _Amount("number")]
Memory = Annotated[Any, BeforeValidator(_memory), WithJsonSchema({"anyOf": [{"type": "integer"}, _TEXT]})]
Share = Annotated[Any, BeforeValidator(_share), WithJsonSchema({"anyOf": [{"type": "number"}, _TEXT]})]
_OBJECT = {"anyOf": [{"type": "object"}, _TEXT]}  # a text: a template of one mapping
Variables = Annotated[Any, BeforeValidator(_variables), WithJsonSchema(_OBJECT)]
DaskConfig = Annotated[Any, BeforeValidator(_dask_config), WithJsonSchema(_OBJECT)]
Overlay = Annotated[Any, BeforeValidator(_mapping), WithJsonSchema(_OBJECT)]
ImportPath = Annotated[str, AfterValidator(_dotted)]


class Process(Section):
    """One scheduler or worker: what it may use, and what is set aside for it where a backend tells the two apart."""

    cores: Cores = None
    """Cores that it may use (Kubernetes: the limit)."""
    cores_request: Cores = None
    """Cores that are set aside for it where that is less, so that more of them fit on a node. Default: `cores`."""
    memory: Memory = None
    """Memory that it may use: `8 GiB`, `8 Gi`, `8G` (all 2^30), `8 GB` (10^9), or bytes; 0: no limit."""
    memory_request: Memory = None
    """Memory that is set aside for it where that is less. Default: `memory`."""
    threads: Threads = None
    """Tasks that a worker runs at a time; 0, the default: one for each whole core of `cores`."""
    gpus: Count = None
    """GPUs of its own, a whole number."""
    node: str = Field(None, min_length=1)  # type: ignore[assignment]  # not given is not null
    """Name of a node out of `policy.nodes`, of which it gets the part `share`."""
    share: Share = None
    """With `node`: which part of the node it gets, such as `1/16`: cores by the node's size, what is set aside by what
    the node has left for us, so that exactly sixteen fit."""


class Setup(Section):
    """What a cluster gets. Every key may be left out; texts may hold templates such as `{user.name}`."""

    worker: Process = Process()
    """What each worker gets."""
    scheduler: Process = Process()
    """What the scheduler gets."""
    image: str = ""
    """Container image of scheduler and workers, for backends that run containers."""
    scheduler_image: str = ""
    """Container image of the scheduler, where it is another one."""
    environment: str = ""
    """Path of the Python environment, for backends that run processes."""
    variables: Variables = {}
    """Environment variables of scheduler and workers; null takes one away."""
    dask_config: DaskConfig = {}
    """Dask's configuration for scheduler and workers, nested or dotted: `{distributed.worker.memory.spill: 0.5}`. They
    get it as variables `DASK_...`, before anything is imported."""
    secret_variables: dict[str, SecretStr] = {}
    """The same, never shown: neither in the cluster's record nor by `check-config`."""
    max_workers: Workers = None
    """Workers of one cluster; never more than `limits` allow."""
    scheduler_start_s: Seconds = None
    """Instead of `timeouts.scheduler_start_s`: raise it where jobs queue or images are large."""
    worker_start_s: Seconds = None
    """Instead of `timeouts.worker_start_s`."""
    idle_s: SecondsOrNever = None
    """Instead of `leases.idle.default`: the cluster is stopped after so long without work; 0: never."""
    age_s: SecondsOrNever = None
    """Instead of `leases.age.default`: the cluster is stopped when it is so old, however busy; 0: never."""
    backend: Overlay = {}
    """Free keys for the backend, such as parts of a pod. A backend that cannot honour them refuses them at start-up."""


class Profile(Setup):
    """A named size: everything that a cluster may get, and who may choose it."""

    label: str = ""
    """What people see; empty: its name."""
    help: str = ""
    """What it is good for, in a sentence."""
    groups: tuple[GroupName, ...] | None = None
    """Only members of these groups may choose it. With `users`: either is enough. Null: everybody."""
    users: tuple[UserName, ...] | None = None
    """Only these users may choose it."""


class OptionSettings(Section):
    """One thing that users may choose."""

    type: Literal["int", "float", "bool", "string", "choice", "mapping"] | None = None
    """What its value is. May be left out for the built-in options and where `choices` or `when` tell."""
    default: Any = None
    """Its value where the user does not choose. A text may hold templates over the user."""
    minimum: float | None = None
    """The least, for numbers."""
    maximum: float | None = None
    """The most, for numbers. Null: for the built-in sizes all that this machine has, else any number."""
    choices: tuple[str, ...] | None = None
    """Texts to choose from. May be left out where `when` names them. `{user.group}` stands for each of the user's
    groups."""
    allowed: tuple[str, ...] | None = None
    """For texts: patterns, `*` standing for anything between two slashes: `/opt/envs/*`, `/home/{user.name}/*`. The
    default is always allowed."""
    label: str = ""
    """What forms call it; empty: its name."""
    help: str = ""
    """What it does, in a sentence."""
    unit: str = ""
    """Unit of a number, for people: `GiB`."""
    hidden: bool = False
    """Left out of forms and listings; whoever knows it can set it."""
    secret: bool = False
    """Its value is never shown or kept with the cluster's record: only that it was given. It can be used in
    `variables` only."""
    enabled: bool = True
    """False: nobody can choose; its default still counts."""
    groups: tuple[GroupName, ...] | None = None
    """Only members of these groups see it. With `users`: either is enough. Null: everybody."""
    users: tuple[UserName, ...] | None = None
    """Only these users see it."""
    sets: Setup | None = None
    """What a cluster gets by it, usually with templates such as `{options.NAME}`. A built-in option goes on doing what
    it does, unless these keys say it otherwise."""
    when: dict[str, Setup] | None = None
    """What a cluster gets by single values: of a choice, or `true` and `false`."""


class Images(Section):
    """Which container images may run."""

    require_tag: bool = True
    """Refuse an image without a tag or digest: it would change under its users."""
    allowed: tuple[str, ...] | None = None
    """Patterns, `*` standing for anything: `registry.example.org/lab/*`. Null: any image."""


class VariableRules(Section):
    """Which environment variables users may set. The administrator's own are not bound by this."""

    allowed: tuple[str, ...] = ("*",)
    """Patterns of names that users may set, `*` standing for anything."""
    denied: tuple[str, ...] = ()
    """Patterns of names that users may not set. Those that make a process load other code (`LD_*`, `DYLD_*`, `BASH_ENV`
    and the like) are always denied, and `SLUICE_*` to everybody."""


class Node(Section):
    """One kind of machine, for `node` and `share`."""

    cores: float = Field(gt=0)
    """Cores of the whole machine."""
    memory: Memory
    """Memory of the whole machine."""
    reserved_cores: float = Field(0.0, ge=0)
    """Cores that the system and its daemons need."""
    reserved_memory: Memory = 0
    """Memory that the system and its daemons need."""

    @model_validator(mode="after")
    def _leave_something(self) -> Self:
        if self.reserved_cores >= self.cores:
            raise ValueError(f"reserved_cores leave nothing: {self.reserved_cores:g} of {self.cores:g} cores")
        if parse_memory(self.reserved_memory) >= parse_memory(self.memory):
            raise ValueError(f"reserved_memory leaves nothing: {self.reserved_memory} of {self.memory}")
        return self


class PolicySettings(Section):
    """What clusters get, and the rules for it. Later ones win: `defaults`, options left at their default, the profile,
    options that were chosen, `everyone`, `groups` (the user's first group last), `users`, `hook`.
    """

    defaults: Setup = Setup()
    """What every cluster gets unless something says otherwise."""
    everyone: Setup = Setup()
    """What every cluster gets whatever its user chooses."""
    groups: dict[GroupName, Setup] = {}
    """What clusters of members of a group get, whatever they choose."""
    users: dict[UserName, Setup] = {}
    """What clusters of single users get, whatever they choose."""
    default_profile: str = ""
    """The profile of users who do not choose. Empty: the first one that is open to them."""
    images: Images = Images()
    """Which container images may run."""
    variables: VariableRules = VariableRules()
    """Which environment variables users may set."""
    nodes: dict[str, Node] = {}
    """Kinds of machines, by name, for sizes that are parts of a machine."""
    hook: ImportPath | None = None
    """A function `(options)` or `(options, user)`, sync or async, that gives what a cluster gets on top of all else:
    the keys of `defaults`. What it raises is told to the user."""
    options_hook: ImportPath | None = None
    """A function `(user)`, sync or async, that gives options for this user: names with the keys of `options`. Where it
    fails, its last good answer for the user counts."""
    options_hook_keep_s: float = Field(60.0, ge=0)
    """How long an answer of `options_hook` counts before it is asked again."""
    hook_timeout_s: float = Field(10.0, gt=0)
    """How long a hook may take; then the user is told so. Hooks never hold up the server."""


BUILT_IN: dict[str, OptionSettings] = {
    "worker_cores": OptionSettings(
        type="float",
        default=1.0,
        minimum=0.1,
        label="Cores per worker",
        help="Processor cores that one worker may use.",
        sets=Setup(worker=Process(cores="{options.worker_cores}")),
    ),
    "worker_memory": OptionSettings(
        type="float",
        default=2.0,
        minimum=0.25,
        label="Memory per worker",
        help="Memory of one worker; one that needs more is restarted.",
        unit="GiB",
        sets=Setup(worker=Process(memory="{options.worker_memory} GiB")),
    ),
    "worker_threads": OptionSettings(
        type="int",
        default=0,
        minimum=0,
        label="Threads per worker",
        help="Tasks that one worker runs at a time; 0: one for each of its cores.",
        sets=Setup(worker=Process(threads="{options.worker_threads}")),
    ),
    "environment": OptionSettings(
        type="string",
        default="",
        label="Python environment",
        help="Path of a virtual environment, conda prefix or interpreter; empty: the server's own.",
        sets=Setup(environment="{options.environment}"),
    ),
    "variables": OptionSettings(
        type="mapping",
        default={},
        label="Environment variables",
        help="Environment variables of scheduler and workers; their values are never shown.",
        secret=True,
        sets=Setup(variables="{options.variables}"),
    ),
    "dask_config": OptionSettings(
        type="mapping",
        default={},
        label="Dask configuration",
        help="Dask's configuration for scheduler and workers, such as {'distributed.worker.memory.spill': 0.5}.",
        sets=Setup(dask_config="{options.dask_config}"),
    ),
}
"""Options that are there without being named."""
SIZES = ("worker_cores", "worker_memory", "worker_threads")
"""Those that are offered beside profiles only where they are named."""
