"""dask-kubernetes as a call of ours: keywords, a pod template, a DaskCluster, Dask's configuration, or a program.

What a user may ask of us becomes options of `new_cluster`; what only an administrator can give, such as where pods
run, becomes a profile for the server's settings, and the call chooses it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ...client.kubecluster import KEYWORDS, quantity, variables_of
from . import pods
from .draft import Draft
from .evaluate import Evaluator
from .python_config import PythonConfig
from .report import Report, Where
from .sources import Unreadable
from .symbols import is_plain, literally

_NOT_NEEDED = {
    "--death-timeout": 1,
    "--no-dashboard": 0,
    "--dashboard": 0,
    "--no-bokeh": 0,
    "--name": 1,
    "--local-directory": 1,
    "--nanny": 0,
    "--dashboard-address": 1,
    "--memory-limit": 1,
    "--reconnect": 0,
}
"""Arguments of dask-worker that the agent sees to, with how many values they take."""
_HELM = {
    "release_name": "the cluster that helm made is one for everybody. Here each has their own; one that goes on "
    "without a notebook is new_cluster(shutdown_on_close=False), found again by gateway.connect(NAME)",
    "scheduler_name": "there is nothing to find in Kubernetes: the gateway knows its clusters",
    "worker_name": "there is nothing to find in Kubernetes: the gateway knows its clusters",
    "node_host": "nothing is forwarded: clients reach everything through the gateway's address",
    "node_port": "nothing is forwarded: clients reach everything through the gateway's address",
    "auth": "users have no rights in Kubernetes and need none; Gateway(auth=...) is the login at the gateway",
}
_ODD = (AttributeError, TypeError, ValueError, KeyError, IndexError)
"""What a value of another shape than Kubernetes' own ends in."""


class Call:
    """One call that is being put together."""

    def __init__(self, name: str = "kubecluster") -> None:
        self.report = Report()
        self.options: dict[str, Any] = {}
        self.keywords: dict[str, Any] = {}
        self.workers: int | None = None
        self.connect = False
        self.profile = Draft()
        self.name = name
        self._own: dict[str, Any] = {}
        """What would be in the profile of these options."""

    def read(self, file: Path) -> None:
        """A YAML file or a program.

        raises  Unreadable
        """
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Unreadable(f"{file} cannot be read: {error}") from error
        if file.suffix == ".py":
            self._program(text, file.name)
            return
        try:
            data = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:
            raise Unreadable(f"{file} is not YAML: {error}") from error
        self.document(data, Where(file.name))

    def document(self, data: Any, where: Where) -> None:
        """A pod template, a DaskCluster, or Dask's configuration."""
        if not isinstance(data, Mapping):
            raise Unreadable(f"{where} holds no keys with values")
        if isinstance(data.get("kubernetes"), Mapping):
            self.arguments({str(key).replace("-", "_"): value for key, value in data["kubernetes"].items()}, where)
            return
        try:
            known = self._object(data, where)
        except _ODD as error:
            raise Unreadable(f"{where} is not shaped as a {data.get('kind') or 'pod'}: {error}") from error
        if not known:
            raise Unreadable(
                f"{where} is neither a pod template, nor a DaskCluster, nor Dask's configuration with 'kubernetes:'"
            )

    def _object(self, data: Mapping[str, Any], where: Where) -> bool:
        """An object of Kubernetes; whether it is one that we know."""
        if data.get("kind") == "DaskCluster":
            self._cluster(data, where)
        elif data.get("kind") in ("Pod", None) and ("containers" in data or "containers" in (data.get("spec") or {})):
            self.pod("worker", data if "spec" in data else {"spec": data}, where)
        else:
            return False
        return True

    def _program(self, text: str, file: str) -> None:
        config = PythonConfig(Report())
        config.read(text, lambda line: Where(file, line))
        try:
            calls = [
                node
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.Call) and _called(node) in ("KubeCluster", "HelmCluster")
            ]
        except (SyntaxError, ValueError) as error:
            raise Unreadable(f"{file} is not Python: {error}") from error
        if not calls:
            raise Unreadable(f"{file} calls neither KubeCluster nor HelmCluster")
        for node in calls[1:]:
            self.report.add(
                "decide", "a second call, which is not carried over", ast.unparse(node), Where(file, node.lineno)
            )
        evaluator: Evaluator = config
        where = Where(file, calls[0].lineno)
        given = {each.arg: evaluator.evaluate(each.value, config.scope) for each in calls[0].keywords if each.arg}
        if calls[0].args:
            given["pod_template"] = evaluator.evaluate(calls[0].args[0], config.scope)
        self.arguments(given, where, helm=_called(calls[0]) == "HelmCluster")

    def arguments(self, given: Mapping[str, Any], where: Where, *, helm: bool = False) -> None:
        """Keywords of `KubeCluster`, or of `HelmCluster`."""
        for name, value in given.items():
            if value in (None, "", {}, []):
                continue
            if not is_plain(value):
                self.report.add(
                    "decide", f"cannot be read without running it: {getattr(value, 'source', value)}", name, where
                )
            elif helm and name in _HELM:
                self.connect = self.connect or name == "release_name"
                self.report.add("changes", _HELM[name], name, where)
            else:
                try:
                    self._argument(name, value, where)
                except _ODD:
                    self.report.add("decide", f"has a value that is none of dask-kubernetes: {value!r}", name, where)

    def _argument(self, name: str, value: Any, where: Where) -> None:
        match name:
            case "image":
                self._set("image", value, where, name)
            case "env":
                self._variables(value, where)
            case "resources":
                self._resources(value, where)
            case "n_workers":
                self._count(value, where)
            case "count":
                if isinstance(value, Mapping):
                    self._count(value.get("start"), where)
                    if value.get("max"):
                        self.report.add(
                            "decide",
                            "limits.cluster.workers is the site's; yours is cluster.adapt(maximum=...)",
                            "count.max",
                            where,
                        )
            case "idle_timeout" | "shutdown_on_close" | "quiet":
                self.keywords[name] = value
                self.report.add("maps", f"-> {name}={value!r}", name, where)
            case "resource_timeout" | "scheduler_service_wait_timeout":
                self.keywords["timeout"] = value
                self.report.add("maps", f"-> timeout={value!r}", name, where)
            case "worker_command":
                self._command(value.split() if isinstance(value, str) else list(value), where)
            case (
                "pod_template"
                | "worker_template"
                | "scheduler_pod_template"
                | "scheduler_template"
                | "custom_cluster_spec"
            ):
                self._template(name, value, where)
            case _:
                keyword = KEYWORDS.get(name)
                if keyword is None:
                    self.report.add("decide", "is no keyword that is known of dask-kubernetes", name, where)
                else:
                    self.report.add(
                        "dropped", f"{keyword.what}{f'. Instead: {keyword.ours}' if keyword.ours else ''}", name, where
                    )

    def _template(self, name: str, value: Any, where: Where) -> None:
        if not isinstance(value, Mapping):
            self.report.add(
                "decide", f"is kept in a file of its own, {value!r}: give that one to this command", name, where
            )
        elif name == "custom_cluster_spec":
            self._cluster(value, where)
        else:
            self.pod("scheduler" if name.startswith("scheduler") else "worker", value, where)

    def _cluster(self, data: Mapping[str, Any], where: Where) -> None:
        """A DaskCluster: pods of worker and scheduler, and how many."""
        spec = data.get("spec") or {}
        self.name = _profile_name(str((data.get("metadata") or {}).get("name") or self.name))
        for role in ("worker", "scheduler"):
            part = spec.get(role) or {}
            if part.get("replicas") is not None and role == "worker":
                self._count(part["replicas"], where)
            if part.get("spec"):
                self.pod(role, {"metadata": part.get("metadata") or {}, "spec": part["spec"]}, where)
            if part.get("service"):
                self.report.add("dropped", KEYWORDS["scheduler_service_type"].what, f"spec.{role}.service", where)
        if spec.get("idleTimeout"):
            self.keywords["idle_timeout"] = spec["idleTimeout"]
            self.report.add("maps", f"-> idle_timeout={spec['idleTimeout']!r}", "spec.idleTimeout", where)

    def pod(self, role: str, template: Mapping[str, Any], where: Where) -> None:
        """A pod template: its container is ours, the rest is a matter of the site."""
        metadata, spec = template.get("metadata") or {}, dict(template.get("spec") or {})
        containers = spec.pop("containers", None) or [{}]
        spec.pop("restartPolicy", None)
        for key in ("labels", "annotations"):
            if metadata.get(key):
                self._administrator((f"backend.{role}.{key}").split("."), metadata[key], f"metadata.{key}", where)
        container = dict(containers[0])
        if len(containers) > 1:
            self._administrator(["backend", role, "containers"], list(containers[1:]), "containers", where)
        self._container(role, container, where)
        for kind, raw in (("pod", spec), ("container", container)):
            for place, value in pods.typed(role, kind, raw, self.report.about(kind, where)):
                self._administrator(list(pods.place_in_setup(role, place)), value, ".".join(place), where)

    def _container(self, role: str, container: dict[str, Any], where: Where) -> None:
        """Take out of the container what an option says."""
        for key in ("name", "ports", "livenessProbe", "readinessProbe"):
            container.pop(key, None)
        image, env, resources = (
            container.pop("image", None),
            container.pop("env", None),
            container.pop("resources", None),
        )
        arguments = [*(container.pop("command", None) or []), *(container.pop("args", None) or [])]
        if role == "scheduler":
            if image and image != self.options.get("image"):
                self._administrator(["scheduler_image"], image, "scheduler image", where)
            if resources:
                self._resources(resources, where, role)
            return
        if image:
            self._set("image", image, where, "image")
        if env:
            self._variables(env, where)
        if resources:
            self._resources(resources, where)
        if arguments:
            self._command(arguments, where)

    def _set(self, option: str, value: Any, where: Where, about: str) -> None:
        self.options[option] = value
        self.report.add("maps", f"-> {option}={value!r}", about, where)

    def _administrator(self, place: list[str], value: Any, about: str, where: Where) -> None:
        self.profile.set(("profiles", "NAME", *place), literally(value))
        self.report.add(
            "decide", f"only an administrator can give it: {'.'.join(place)} of the profile above", about, where
        )

    def _count(self, value: Any, where: Where) -> None:
        if isinstance(value, int) and not isinstance(value, bool):
            self.workers = value
            self.report.add("maps", f"-> cluster.scale({value})", "workers", where)

    def _variables(self, value: Any, where: Where) -> None:
        plain: list[Any] = []
        others: list[Any] = []
        for each in value if isinstance(value, list) else []:
            (plain if isinstance(each, Mapping) and set(each) <= {"name", "value"} else others).append(each)
        if others:
            self._administrator(["backend", "worker", "container", "env"], others, "env", where)
        found = variables_of(value if isinstance(value, Mapping) else plain)
        if found:
            self._add_to("variables", found)
            named = ", ".join(found)  # not the values, which may be secrets
            self.report.add(
                "maps",
                f"-> variables={{...}} with {named}",
                "env",
                where,
            )

    def _resources(self, value: Any, where: Where, role: str = "worker") -> None:
        limits, requests = (dict((value or {}).get(key) or {}) for key in ("limits", "requests"))
        for name, option, unit in (("cpu", f"{role}_cores", 1.0), ("memory", f"{role}_memory", 2.0**30)):
            most, least = limits.pop(name, None), requests.pop(name, None)
            try:
                size = (
                    quantity(most if most is not None else least) / unit
                    if most is not None or least is not None
                    else None
                )
                apart = most is not None and least is not None and quantity(most) != quantity(least)
                if apart:
                    self._administrator(
                        [role, f"{option.removeprefix(role + '_')}_request"],
                        _amount(name, quantity(least)),
                        f"resources.requests.{name}",
                        where,
                    )
            except ValueError as error:
                self.report.add("decide", f"resources.{name} {error}", "resources", where)
                continue
            if size is not None and role == "worker":
                self._set(option, round(size, 3), where, f"resources.{name}")
            elif size is not None:
                self._administrator(
                    [role, option.removeprefix(role + "_")],
                    _amount(name, size * unit),
                    f"scheduler resources.{name}",
                    where,
                )
        gpus = {name: amount for name, amount in {**requests, **limits}.items() if name == "nvidia.com/gpu"}
        for amount in gpus.values():
            self._administrator([role, "gpus"], int(amount), "resources: nvidia.com/gpu", where)
        if rest := {name: amount for name, amount in limits.items() if name not in gpus}:
            self._administrator(["backend", role, "container", "resources", "limits"], rest, "resources", where)

    def _command(self, arguments: list[Any], where: Where) -> None:
        words = [str(each) for each in arguments]
        program = next(
            (position for position, word in enumerate(words) if word.endswith(("dask-worker", "worker"))), None
        )
        if program is None or any("cuda" in word for word in words):
            self.report.add("decide", f"{KEYWORDS['worker_command'].what}: {' '.join(words)}", "worker_command", where)
            return
        rest = [
            part for word in words[program + 1 :] for part in (word.split("=", 1) if word.startswith("--") else [word])
        ]
        while rest:
            word = rest.pop(0)
            if word in ("--nthreads", "--threads") and rest:
                self._set("worker_threads", int(rest.pop(0)), where, word)
            elif word == "--preload" and rest:
                self._preload(rest.pop(0), where)
            elif word == "--resources" and rest:
                self._worker_resources(rest.pop(0), where)
            elif word in _NOT_NEEDED:
                del rest[: _NOT_NEEDED[word]]
                self.report.add("dropped", "our agent sees to it", word, where)
            elif not re.match(r"\$\(DASK_\w+\)|tcp://", word):
                self.report.add(
                    "decide",
                    "an argument of dask-worker without a counterpart; Dask's configuration may have it: "
                    "dask_config={...}",
                    word,
                    where,
                )

    def _preload(self, module: str, where: Where) -> None:
        key = "distributed.worker.preload"
        self._add_to("dask_config", {key: [*self.options.get("dask_config", {}).get(key, ()), module]})
        self.report.add("maps", f"-> dask_config={{{key!r}: ...}}", "--preload", where)

    def _worker_resources(self, text: str, where: Where) -> None:
        pairs = (pair.partition("=") for pair in re.split(r"[,\s]+", text.strip("\"'")) if pair)
        key = "distributed.worker.resources"
        self._add_to("dask_config", {key: {name: _plainly(amount) for name, _, amount in pairs}})
        self.report.add("maps", f"-> dask_config={{{key!r}: ...}}", "--resources", where)

    def _add_to(self, option: str, more: Mapping[str, Any]) -> None:
        self.options[option] = {**self.options.get(option, {}), **more}

    def program(self) -> str:
        """The call, and before it, in comments, the profile that it needs of the administrator."""
        options, lines = dict(self.options), []
        settings = self.settings()
        if settings:
            lines += ["# Ask the site's administrator for this profile, in the server's settings:", "#"]
            lines += [f"#   {line}".rstrip() for line in _as_yaml(settings).splitlines()] + [""]
            kept = {key: value for key, value in options.items() if key in ("variables", "dask_config")}
            options = {"profile": self.name, **kept}
        lines += [
            "from dask_sluice import Gateway",
            "",
            'gateway = Gateway()  # the address that is configured, or Gateway("https://...")',
        ]
        if self.connect:
            lines += ["name = gateway.list_clusters()[0].name", "cluster = gateway.connect(name)"]
        else:
            given = {**options, **self.keywords}
            lines += [f"cluster = gateway.new_cluster({_written(given)})"]
        if self.workers:
            lines.append(f"cluster.scale({self.workers})")
        return "\n".join(lines) + "\n"

    def settings(self) -> dict[str, Any]:
        """The settings that an administrator would add: nothing where options say it all."""
        if not self.profile.data:
            return {}
        profile: dict[str, Any] = self.profile.data["profiles"]["NAME"]
        worker = dict(profile.get("worker", {}))
        for option, key, unit in (
            ("worker_cores", "cores", ""),
            ("worker_memory", "memory", " GiB"),
            ("worker_threads", "threads", ""),
        ):
            if option in self.options:
                worker[key] = f"{self.options[option]:g}{unit}" if unit else self.options[option]
        image = {"image": self.options["image"]} if "image" in self.options else {}
        rest = {key: value for key, value in profile.items() if key != "worker"}
        whole = {**({"worker": worker} if worker else {}), **image, **rest}
        return {"profiles": {self.name: whole}}


def _plainly(text: str) -> float | str:
    """A number where it is one."""
    try:
        return float(text)
    except ValueError:
        return text


def _amount(name: str, value: float) -> Any:
    return int(value) if name == "memory" else round(value, 3)


def _called(node: ast.Call) -> str:
    return (
        node.func.id
        if isinstance(node.func, ast.Name)
        else node.func.attr
        if isinstance(node.func, ast.Attribute)
        else ""
    )


def _profile_name(name: str) -> str:
    return re.sub(r"[^\w.+-]", "-", name).strip("-._+") or "kubecluster"


def _as_yaml(settings: Mapping[str, Any]) -> str:
    draft = Draft()
    draft.data = dict(settings)
    return draft.text()


def _written(given: Mapping[str, Any]) -> str:
    """Keywords of a call, one on a line where there are several."""
    if len(given) < 2:
        return ", ".join(f"{name}={value!r}" for name, value in given.items())
    return "\n" + "".join(f"    {name}={value!r},\n" for name, value in given.items())
