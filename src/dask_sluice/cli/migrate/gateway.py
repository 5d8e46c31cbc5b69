"""dask-gateway's values and Python configuration as ours: each key by the table, options and handler by handlers.py."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import rules
from .draft import Draft
from .fields import SWITCHED_OFF
from .handlers import Handlers
from .hub import hub_glue
from .keys import BY_HELM, BY_TRAIT, CHART, Row, is_for_other_backends, row_of_trait, trait_name
from .pods import SPOT
from .python_config import PythonConfig
from .report import Report, Where
from .sources import Place, Unreadable, Values, find_section, read_values
from .symbols import Opaque, is_plain, literally


@dataclass
class Old:
    """One setting as it was: its key, what the table says of it, its value."""

    key: str
    row: Row
    value: Any
    where: Where


class Migration:
    """What was read, and what has been made of it: settings of the server, values of the chart, a report."""

    def __init__(self) -> None:
        self.report = Report()
        self.settings = Draft()
        self.chart = Draft()
        self.config = PythonConfig(self.report)
        self.given: dict[str, Old] = {}
        """Settings by their old key, a trait by the class that has it."""
        self.aliases: dict[str, None] = {}
        """Names of services by which notebooks reach the old proxy."""
        self.charted = False
        """Whether values of a chart were read."""
        self.under: Place = ()
        """Keys above the gateway's values, in the file that was read."""

    def read(self, files: tuple[Path, ...]) -> None:
        """Values files, merged; or one configuration in Python.

        raises  Unreadable
        """
        if any(file.suffix == ".py" for file in files):
            if len(files) > 1:
                raise Unreadable("give values files, or one configuration in Python")
            self._read_python(files[0])
        else:
            self._read_values(read_values(files))

    def _read_python(self, file: Path) -> None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Unreadable(f"{file} cannot be read: {error}") from error
        self.config.read(text, lambda line: Where(file.name, line))
        self._write()

    def _read_values(self, values: Values) -> None:
        find_section(values, self.report)
        self.under = values.under
        for path, value in self._walk(values.section, (), values):
            key = ".".join(path)
            self.given[key] = Old(key, BY_HELM[key], value, values.where(*path))
        extra = self.given.pop("gateway.extraConfig", None)
        for place, text in _blocks(extra.value if extra else {}):
            start = values.where("gateway", "extraConfig", *place, "|")
            self.config.read(text, lambda line, start=start: Where(start.file, start.line + line - 1))  # type: ignore[misc]
        self.aliases = dict.fromkeys(hub_glue(values, self.report))
        self.charted = True
        self._write()

    def _walk(self, node: Any, path: Place, values: Values) -> Iterator[tuple[Place, Any]]:
        """Leaves that the table knows; what it does not know is said."""
        for name, value in node.items():
            here = (*path, str(name))
            key = ".".join(here)
            if key in BY_HELM:
                yield here, value
            elif isinstance(value, Mapping) and any(known.startswith(f"{key}.") for known in BY_HELM):
                yield from self._walk(value, here, values)
            elif value not in (None, {}, []):
                self._misplaced(here, value, values)

    def _misplaced(self, path: Place, value: Any, values: Values) -> None:
        key = ".".join(path)
        tail = [known for known in BY_HELM if known.split(".")[-1] == path[-1] or f".{path[-1]}." in known]
        better = difflib.get_close_matches(key, tail or list(BY_HELM), n=1, cutoff=0.4)
        meant = (
            better[0][: better[0].index(f".{path[-1]}") + len(path[-1]) + 1]
            if better and f".{path[-1]}" in better[0]
            else "".join(better)
        )
        new = (
            f"; here that is {BY_HELM[better[0]].new}"
            if better and BY_HELM[better[0]].new and meant == better[0]
            else ""
        )
        where = f" It belongs under {meant}{new}." if meant else ""
        self.report.add(
            "wrong",
            f"is no value of dask-gateway's chart, so it had no effect.{where} Not carried over: {_short(value)}",
            key,
            values.where(*path),
        )

    def _write(self) -> None:
        options = self._traits()
        self._backend()
        for old in self.given.values():
            self._by_table(old)
        handlers = Handlers(self.config, self.settings, self.report)
        handlers.limited = {
            f"{role}_{what}"
            for role in rules.ROLES
            for what in ("cores", "memory")
            if self._value(rules.limit_keys(role, what)) is not None
        }
        rules.write(self)
        if options is not None:
            handlers.write(options.value, options.where)
        else:
            for name in SWITCHED_OFF:
                self.settings.set(("options", name, "enabled"), False)
        rules.finish(self)

    def _traits(self) -> Old | None:
        """Settings made in Python into `given`; the options, of which the last ones count."""
        options: Old | None = None
        for each in self.config.assigned:
            row = row_of_trait(each.key)
            if is_for_other_backends(each.key):
                row = BY_TRAIT[f"DBBackendBase.{each.key.partition('.')[2]}"]
                self.report.add(
                    "wrong",
                    f"had no effect: the Kubernetes backend does not have it. Here it is {row.new}, which every "
                    "backend obeys"
                    if row.new
                    else "had no effect: the Kubernetes backend does not have it",
                    f"c.{each.key}",
                    each.where,
                )
            if row is None:
                near = difflib.get_close_matches(each.key, list(BY_TRAIT), n=1)
                meant = f" Was {near[0]} meant?" if near else ""
                self.report.add(
                    "wrong",
                    f"dask-gateway has no such setting, and ignored it but for a line in its log.{meant}",
                    f"c.{each.key}",
                    each.where,
                )
                continue
            if "Backend.cluster_options" in row.traits:
                if options is not None:
                    self.report.add(
                        "wrong",
                        f"was never used: {each.where} sets the options again, and blocks run in the order of their "
                        "names, the last one wins. Here options are named once",
                        "c.Backend.cluster_options",
                        options.where,
                    )
                options = Old(each.key, row, each.value, each.where)
                continue
            key = trait_name(each.key)
            if key in self.given and isinstance(each.value, dict) and isinstance(self.given[key].value, dict):
                each_value: Any = {**self.given[key].value, **each.value}
            else:
                each_value = each.value
            self.given[key] = Old(each.key, row, each_value, each.where)
        return options

    def _by_table(self, old: Old) -> None:
        row = old.row
        if row.kind == "dropped":
            if not _is_default(old):
                self.report.add("dropped", row.what, old.key, old.where)
            return
        if (
            row.kind == "decide"
            and old.key == "gateway.image"
            and not (isinstance(old.value, Mapping) and old.value.get("name"))
        ):
            return  # a version of the old server, which this is not
        if row.kind == "decide" and "gateway.auth.jupyterhub.apiToken" in row.helm:
            return  # rules.py
        if row.kind == "decide":
            self.report.add("decide", f"{row.what}: {_short(old.value)}", old.key, old.where)
            return
        if row.convert is None:
            return  # rules.py has the rule
        if old.value in (None, "", {}, []) and not isinstance(old.value, bool):
            return
        self.carry(old, row.new, row.convert)

    def carry(self, old: Old, new: str, convert: Any = None) -> None:
        """Set our key to the old value, and say so; what cannot be read or converted is left for a human."""
        if isinstance(old.value, Opaque) or not is_plain(old.value):
            shown = old.value.source if isinstance(old.value, Opaque) else _short(old.value)
            self.report.add(
                "decide",
                f"cannot be read without running it: {shown}. Set {new.removeprefix(CHART)}",
                f"c.{old.key}",
                old.where,
            )
            return
        try:
            value = convert(old.value) if convert else old.value
        except (ValueError, TypeError) as error:
            self.report.add("decide", f"{error}; set {new.removeprefix(CHART)} by hand", old.key, old.where)
            return
        if new.startswith("policy."):  # where braces are templates
            value = literally(value)
        draft = self.chart if new.startswith(CHART) else self.settings
        draft.set(new.removeprefix(CHART), value, str(old.where))
        told = f"{new.removeprefix(CHART)}{f': {old.row.what}' if old.row.what else ''}"
        self.report.add(old.row.kind, f"-> {told}", old.key, old.where)

    def text(self, only_settings: bool = False) -> str:
        """What was made of it: values of our chart, under the same keys as before; or the server's settings alone."""
        if only_settings or not self.charted:
            return self.settings.ordered().text()
        whole = Draft()
        whole.absorb(("config",), self.settings)
        whole.absorb((), self.chart)
        return whole.ordered(("config",)).text((*self.under[:-1], "dask-sluice") if self.under else ())

    @property
    def tolerated_spot(self) -> bool:
        """Whether the old workers tolerated spot nodes."""
        return any(key in str(old.value) for old in self.given.values() for key in SPOT)

    def take(self, *keys: str) -> Old | None:
        """The setting with the first of these old keys that is given."""
        return next((self.given[key] for key in keys if key in self.given), None)

    def _value(self, keys: tuple[str, ...]) -> Any:
        old = self.take(*keys)
        return old.value if old else None

    def _backend(self) -> None:
        """Which backend: of the chart Kubernetes, unless its Python says otherwise."""
        old = self.take("DaskGateway.backend_class")
        named = _short(old.value) if old else ""
        if old is None:
            if self.charted or any(
                key.startswith("KubeClusterConfig") for key in (each.key for each in self.config.assigned)
            ):
                self.settings.set("backend.kind", "kubernetes")
            return
        if "Kube" in named:
            self.settings.set("backend.kind", "kubernetes", str(old.where))
        elif "Local" in named:
            self.settings.set("backend.kind", "local", str(old.where))
        else:
            self.report.add("decide", f"there is no backend here for {named}", f"c.{old.key}", old.where)
            if self.charted:
                self.settings.set("backend.kind", "kubernetes")


def _is_default(old: Old) -> bool:
    """What charts' users copy at its default value is not worth a line."""
    return old.value in ({}, [], None, "", True) and old.key.endswith(("enabled", "installTraefik"))


def _blocks(value: Any) -> Iterator[tuple[Place, str]]:
    """Blocks of `extraConfig` in the order in which they run."""
    if isinstance(value, str):
        yield (), value
    elif isinstance(value, Mapping):
        for name in sorted(value, key=str):
            if isinstance(value[name], str):
                yield (str(name),), value[name]


def _short(value: Any) -> str:
    text = value.source if isinstance(value, Opaque) else str(value)
    return text if len(text) <= 300 else text[:297] + "..."
