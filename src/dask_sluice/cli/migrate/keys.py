"""Old key, new key: the one table behind `migrate dask-gateway` and the page docs/coming-from-dask-gateway.md.

Old keys are those of dask-gateway's chart, and the traits of its Python configuration. New keys are settings of the
server, or with `chart:` before them values of our chart. Where `convert` is None, gateway.py has the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .report import Kind

CHART = "chart:"
Convert = Callable[[Any], Any]


def same(value: Any) -> Any:
    """The value as it is."""
    return value


def prefix(value: Any) -> str:
    """`/services/dask-gateway`; `/` is the empty prefix here."""
    return str(value).rstrip("/")


def level(value: Any) -> str:
    """Ours are in small letters and go to `error`."""
    name = {10: "debug", 20: "info", 30: "warning", 40: "error"}.get(value, str(value).lower())
    return {"warn": "warning", "critical": "error", "fatal": "error"}.get(name, name)


def gibibytes(value: Any) -> float:
    """`600G`, `600 G` or bytes in GiB; the old server's G is 2^30."""
    from ...server.memory import parse_memory

    size = parse_memory(value) / 2**30
    return int(size) if size == int(size) else round(size, 3)


def seconds(value: Any) -> float:
    """A number above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise ValueError(f"must be a number of seconds above 0, got {value!r}")
    return value


def on_stop(value: Any) -> str:
    """Whether clusters end with the server."""
    return "stop_clusters" if value else "keep_clusters"


@dataclass(frozen=True)
class Row:
    """One old setting, by all its names: keys of the chart, traits in Python (`Class.trait`); and what it is here."""

    old: tuple[str, ...]
    new: str
    kind: Kind
    what: str = ""
    convert: Convert | None = same

    @property
    def traits(self) -> tuple[str, ...]:
        return tuple(name for name in self.old if name[0].isupper())

    @property
    def helm(self) -> tuple[str, ...]:
        return tuple(name for name in self.old if not name[0].isupper())


def _maps(old: str, new: str, what: str = "", convert: Convert | None = same) -> Row:
    return Row(tuple(old.split()), new, "maps", what, convert)


def _changes(old: str, new: str, what: str, convert: Convert | None = same) -> Row:
    return Row(tuple(old.split()), new, "changes", what, convert)


def _had_no_effect(old: str, new: str, what: str, convert: Convert | None = same) -> Row:
    return Row(tuple(old.split()), new, "wrong", what, convert)


def _by_hand(old: str, new: str, what: str) -> Row:
    return Row(tuple(old.split()), new, "decide", what, None)


def _gone(old: str, what: str) -> Row:
    return Row(tuple(old.split()), "", "dropped", what, None)


def _of_role(role: str) -> list[Row]:
    """The same for schedulers and workers."""
    return [
        _maps(
            f"gateway.backend.{role}.cores.limit KubeClusterConfig.{role}_cores_limit",
            f"policy.defaults.{role}.cores",
            "threads go by it",
            convert=None,
        ),
        _maps(
            f"gateway.backend.{role}.cores.request ClusterConfig.{role}_cores",
            f"policy.defaults.{role}.cores_request",
            "without a limit it is `cores`",
            convert=None,
        ),
        _maps(
            f"gateway.backend.{role}.memory.limit KubeClusterConfig.{role}_memory_limit",
            f"policy.defaults.{role}.memory",
            convert=None,
        ),
        _maps(
            f"gateway.backend.{role}.memory.request ClusterConfig.{role}_memory",
            f"policy.defaults.{role}.memory_request",
            "without a limit it is `memory`",
            convert=None,
        ),
        _maps(
            f"gateway.backend.{role}.extraPodConfig KubeClusterConfig.{role}_extra_pod_config",
            f"backend.kubernetes.{role}",
            "keys of their own for what is common (`node_selector`, `tolerations`, `service_account_name`, ...); "
            "`pod` for the rest",
            convert=None,
        ),
        _maps(
            f"gateway.backend.{role}.extraContainerConfig KubeClusterConfig.{role}_extra_container_config",
            f"backend.kubernetes.{role}",
            "keys of their own for what is common (`volume_mounts`, `env_from`, `run_as_user`, ...); `container` for "
            "the rest",
            convert=None,
        ),
        _maps(f"KubeClusterConfig.{role}_extra_pod_labels", f"backend.kubernetes.{role}.labels", convert=None),
        _maps(
            f"KubeClusterConfig.{role}_extra_pod_annotations", f"backend.kubernetes.{role}.annotations", convert=None
        ),
        _by_hand(
            f"ClusterConfig.{role}_cmd",
            "",
            "our agent starts Dask in the image's own Python; `environment` names another one, a preload adds to it",
        ),
    ]


_NO_CONTROLLER = "there is no controller: the server looks after clusters itself"
_NO_TRAEFIK = "there is no Traefik: our own proxy carries API, dashboards and Dask's traffic on one port"
_NO_CRDS = "nothing of ours needs custom resources or rights in the whole Kubernetes"

REACHED = [
    _maps("gateway.prefix Proxy.prefix", "listen.prefix", convert=prefix),
    _changes(
        "Proxy.address Proxy.tcp_address DaskGateway.address",
        "listen.address, listen.port",
        "one address for API, page, dashboards and Dask's traffic; in the chart it is fixed",
        convert=None,
    ),
    _maps("Proxy.tls_cert", "listen.tls_certificate"),
    _maps("Proxy.tls_key", "listen.tls_key"),
    _maps("Backend.api_url KubeController.api_url", "listen.agent_url"),
    _gone(
        "Proxy.gateway_url Proxy.api_token Proxy.max_events Proxy.externally_managed Proxy.proxy_status_period "
        "Proxy.log_level",
        "the proxy belongs to the server and needs no settings of its own",
    ),
    _maps("gateway.loglevel DaskGateway.log_level Application.log_level", "log.level", convert=level),
    _gone(
        "controller.enabled controller.annotations controller.resources controller.imagePullSecrets "
        "controller.nodeSelector controller.affinity controller.tolerations controller.loglevel "
        "controller.backoffBaseDelay controller.backoffMaxDelay controller.k8sApiRateLimit "
        "controller.k8sApiRateLimitBurst controller.completedClusterCleanupPeriod controller.image "
        "KubeController.completed_cluster_cleanup_period KubeController.backoff_base_delay "
        "KubeController.backoff_max_delay KubeController.k8s_api_rate_limit KubeController.k8s_api_rate_limit_burst "
        "KubeController.parallelism KubeController.address KubeController.proxy_prefix",
        _NO_CONTROLLER,
    ),
    _maps(
        "controller.completedClusterMaxAge KubeController.completed_cluster_max_age DBBackendBase.db_cluster_max_age",
        "timeouts.ended_kept_s",
        convert=seconds,
    ),
    _maps("traefik.service.type", "chart:service.type"),
    _maps("traefik.service.annotations", "chart:service.annotations"),
    _maps("traefik.service.spec.loadBalancerIP", "chart:service.loadBalancerIP"),
    _maps("traefik.service.spec.loadBalancerSourceRanges", "chart:service.loadBalancerSourceRanges"),
    _maps("traefik.service.ports.web.port", "chart:service.port"),
    _maps("traefik.service.ports.web.nodePort", "chart:service.nodePort"),
    _maps("traefik.service.ports.tcp.port", "chart:service.dask.port", convert=None),
    _maps("traefik.replicas", "chart:proxy.replicas"),
    _maps("traefik.resources", "chart:proxy.resources"),
    _maps("traefik.nodeSelector", "chart:proxy.placement.nodeSelector"),
    _maps("traefik.affinity", "chart:proxy.placement.affinity"),
    _maps("traefik.tolerations", "chart:proxy.placement.tolerations"),
    _gone(
        "traefik.installTraefik traefik.image traefik.loglevel traefik.dashboard traefik.additionalArguments "
        "traefik.annotations traefik.imagePullSecrets",
        _NO_TRAEFIK,
    ),
    _changes(
        "KubeController.proxy_web_entrypoint KubeController.proxy_tcp_entrypoint KubeController.proxy_web_middlewares",
        "",
        "there is no Traefik; dashboards ask for the same login as the API, which is what middlewares were for",
        convert=None,
    ),
    _maps("gateway.service.annotations", "chart:service.annotations"),
]
SERVER_POD = [
    _maps("gateway.replicas", "chart:server.replicas"),
    _maps("gateway.resources", "chart:server.resources"),
    _maps("gateway.nodeSelector", "chart:server.placement.nodeSelector"),
    _maps("gateway.affinity", "chart:server.placement.affinity"),
    _maps("gateway.tolerations", "chart:server.placement.tolerations"),
    _maps("gateway.env", "chart:server.env"),
    _maps("gateway.annotations", "chart:server.annotations"),
    _maps("gateway.imagePullSecrets", "chart:imagePullSecrets", convert=None),
    _by_hand(
        "gateway.image",
        "chart:image",
        "the old server's image cannot run this server; what was added to it belongs into an image built on ours",
    ),
    _gone("gateway.livenessProbe gateway.readinessProbe", "the chart has probes that fit the server"),
    _gone("rbac.enabled rbac.controller rbac.gateway rbac.traefik", _NO_CRDS),
    _maps("nameOverride", "chart:nameOverride"),
    _maps("fullnameOverride", "chart:fullnameOverride"),
    _maps("enabled", "chart:enabled"),
    _maps("global", "chart:global"),
]
LOGIN = [
    _maps("gateway.auth.type DaskGateway.authenticator_class", "authenticator.kind", convert=None),
    _maps("gateway.auth.simple.password SimpleAuthenticator.password", "authenticator.basic.password", convert=None),
    _by_hand(
        "gateway.auth.jupyterhub.apiToken JupyterHubAuthenticator.jupyterhub_api_token",
        "chart:server.env",
        "the variable JUPYTERHUB_API_TOKEN, from a Secret",
    ),
    _maps(
        "gateway.auth.jupyterhub.apiTokenFromSecretName",
        "chart:server.env",
        "the variable JUPYTERHUB_API_TOKEN",
        convert=None,
    ),
    _maps(
        "gateway.auth.jupyterhub.apiTokenFromSecretKey",
        "chart:server.env",
        "the variable JUPYTERHUB_API_TOKEN",
        convert=None,
    ),
    _maps(
        "gateway.auth.jupyterhub.apiUrl JupyterHubAuthenticator.jupyterhub_api_url", "authenticator.jupyterhub.api_url"
    ),
    _maps(
        "gateway.auth.jupyterhub.jupyterhubServiceName JupyterHubAuthenticator.jupyterhub_service_name",
        "authenticator.jupyterhub.service_name",
    ),
    _maps("JupyterHubAuthenticator.use_service_access_scopes", "authenticator.jupyterhub.require_scope"),
    _maps("JupyterHubAuthenticator.tls_key", "authenticator.jupyterhub.key_file"),
    _maps("JupyterHubAuthenticator.tls_cert", "authenticator.jupyterhub.certificate_file"),
    _maps("JupyterHubAuthenticator.tls_ca", "authenticator.jupyterhub.ca_file"),
    _by_hand(
        "gateway.auth.kerberos.keytab KerberosAuthenticator.keytab KerberosAuthenticator.service_name",
        "",
        "there is no Kerberos login yet",
    ),
    _by_hand(
        "gateway.auth.custom.class",
        "authenticator.kind",
        "an authenticator of your own is written for the old server; here one is a class with `authenticate`, named "
        "by its import path",
    ),
    _by_hand("gateway.auth.custom.config", "authenticator.settings", "see gateway.auth.custom.class"),
    _gone("Authenticator.cookie_name", "sessions have a name of their own"),
    _changes(
        "Authenticator.cache_max_age",
        "authenticator.jupyterhub.remember_s",
        "how long an answer of the hub counts; ten seconds here, at most ten minutes",
        convert=seconds,
    ),
]
PODS = [
    _maps("gateway.backend.namespace KubeClusterConfig.namespace", "backend.kubernetes.namespace"),
    _maps("gateway.backend.image KubeClusterConfig.image", "policy.defaults.image", convert=None),
    _maps(
        "gateway.backend.image.pullPolicy KubeClusterConfig.image_pull_policy",
        "backend.kubernetes.pods.image_pull_policy",
    ),
    _maps(
        "gateway.backend.imagePullSecrets KubeClusterConfig.image_pull_secrets",
        "backend.kubernetes.pods.image_pull_secrets",
        convert=None,
    ),
    _maps("gateway.backend.environment ClusterConfig.environment", "policy.defaults.variables"),
    _maps(
        "gateway.backend.worker.threads ClusterConfig.worker_threads", "policy.defaults.worker.threads", convert=None
    ),
    _maps("KubeBackend.common_labels KubeController.common_labels", "backend.kubernetes.pods.labels", convert=None),
    _maps(
        "KubeBackend.common_annotations KubeController.common_annotations",
        "backend.kubernetes.pods.annotations",
        convert=None,
    ),
    _maps("KubeBackend.gateway_instance KubeController.gateway_instance", "backend.kubernetes.instance"),
    _gone(
        "KubeBackend.crd_version KubeController.crd_version KubeBackend.label_selector KubeController.label_selector",
        _NO_CRDS,
    ),
    *_of_role("scheduler"),
    *_of_role("worker"),
]
CLUSTERS = [
    _maps(
        "gateway.extraConfig Backend.cluster_options", "options, profiles, policy", "see Handlers above", convert=None
    ),
    _by_hand("Backend.cluster_config_class", "", "a class of your own; settings or policy.hook take its place"),
    _maps("DaskGateway.backend_class", "backend.kind", convert=None),
    _maps("ClusterConfig.idle_timeout", "leases.idle.default", "seconds; 0, never, was the default", convert=None),
    _maps("ClusterConfig.cluster_max_workers", "limits.cluster.workers"),
    _changes(
        "ClusterConfig.cluster_max_cores",
        "limits.cluster.cores",
        "counts what may be used (`cores`), where the old server counted what was set aside (requests); raise it by "
        "that factor if needed",
    ),
    _changes(
        "ClusterConfig.cluster_max_memory",
        "limits.cluster.memory",
        "in GiB, and counts `memory`, where the old server counted requests",
        convert=gibibytes,
    ),
    _had_no_effect(
        "UserLimits.max_cores",
        "limits.user.cores",
        "had no effect since dask-gateway 0.7, which took limits per user away; it has one again",
    ),
    _had_no_effect(
        "UserLimits.max_memory",
        "limits.user.memory",
        "had no effect since dask-gateway 0.7, which took limits per user away; it has one again",
        convert=gibibytes,
    ),
    _had_no_effect(
        "UserLimits.max_clusters",
        "limits.user.clusters",
        "had no effect since dask-gateway 0.7, which took limits per user away; it has one again",
    ),
    _gone(
        "ClusterConfig.adaptive_period",
        "scaling follows the work at once; what can be set is how long it waits before it gives workers up",
    ),
    _maps("DBBackendBase.cluster_start_timeout", "timeouts.scheduler_start_s", convert=seconds),
    _maps("DBBackendBase.worker_start_timeout", "timeouts.worker_start_s", convert=seconds),
    _changes(
        "DBBackendBase.cluster_heartbeat_timeout",
        "timeouts.scheduler_lost_s",
        "seconds without a word until a running cluster is given up; the default here is a quarter of an hour",
        convert=seconds,
    ),
    _gone(
        "DBBackendBase.cluster_heartbeat_period DBBackendBase.check_timeouts_period "
        "DBBackendBase.cluster_status_period DBBackendBase.worker_status_period",
        "schedulers stay connected, so nothing is asked for periodically",
    ),
    _gone(
        "DBBackendBase.worker_start_failure_limit",
        "a worker that cannot start is tried again ever more slowly, and its reason shown; the cluster lives on",
    ),
    _changes(
        "DBBackendBase.db_url",
        "database.url",
        "PostgreSQL, or null for a file; the old server's database cannot be read",
        convert=None,
    ),
    _gone(
        "DBBackendBase.db_encrypt_keys DBBackendBase.db_debug DBBackendBase.db_cleanup_period "
        "DBBackendBase.parallelism DBBackendBase.backoff_base_delay DBBackendBase.backoff_max_delay",
        "has no counterpart and needs none",
    ),
    _maps("DBBackendBase.stop_clusters_on_shutdown", "on_stop", convert=on_stop),
    _by_hand(
        "LocalBackend.clusters_directory LocalBackend.inherited_environment LocalBackend.sigint_timeout "
        "LocalBackend.sigterm_timeout LocalBackend.sigkill_timeout",
        "backend.local",
        "the local backend has other settings: see configuration.md",
    ),
    _by_hand(
        "JobQueueClusterConfig.worker_setup JobQueueClusterConfig.scheduler_setup "
        "JobQueueClusterConfig.staging_directory SlurmClusterConfig.partition SlurmClusterConfig.qos "
        "SlurmClusterConfig.account PBSClusterConfig.queue PBSClusterConfig.account PBSClusterConfig.project "
        "PBSClusterConfig.worker_resource_list PBSClusterConfig.scheduler_resource_list PBSClusterConfig.use_stagein "
        "PBSBackend.gateway_hostname JobQueueBackend.dask_gateway_jobqueue_launcher JobQueueBackend.submit_command "
        "JobQueueBackend.cancel_command JobQueueBackend.status_command",
        "",
        "there is no backend for Slurm or PBS yet",
    ),
    _by_hand(
        "YarnClusterConfig.queue YarnClusterConfig.localize_files YarnClusterConfig.worker_setup "
        "YarnClusterConfig.scheduler_setup YarnBackend.principal YarnBackend.keytab",
        "",
        "there is no backend for YARN, and dask-gateway has none since 2026.3 either",
    ),
]


GROUPS: Mapping[str, list[Row]] = {
    "How it is reached": REACHED,
    "The server's pod": SERVER_POD,
    "Login": LOGIN,
    "Pods of clusters": PODS,
    "Clusters": CLUSTERS,
}
ROWS = [row for rows in GROUPS.values() for row in rows]
BY_HELM: Mapping[str, Row] = {key: row for row in ROWS for key in row.helm}
BY_TRAIT: Mapping[str, Row] = {trait: row for row in ROWS for trait in row.traits}

_DATABASE_ONLY = frozenset(trait.partition(".")[2] for trait in BY_TRAIT if trait.startswith("DBBackendBase."))
_PARENTS: Mapping[str, tuple[str, ...]] = {
    "KubeClusterConfig": ("KubeClusterConfig", "ClusterConfig"),
    "SlurmClusterConfig": ("SlurmClusterConfig", "JobQueueClusterConfig", "ClusterConfig"),
    "PBSClusterConfig": ("PBSClusterConfig", "JobQueueClusterConfig", "ClusterConfig"),
    "YarnClusterConfig": ("YarnClusterConfig", "ClusterConfig"),
    "JobQueueClusterConfig": ("JobQueueClusterConfig", "ClusterConfig"),
    "LocalClusterConfig": ("ClusterConfig",),
    "KubeBackend": ("KubeBackend", "Backend"),
    "SlurmBackend": ("JobQueueBackend", "DBBackendBase", "Backend"),
    "PBSBackend": ("PBSBackend", "JobQueueBackend", "DBBackendBase", "Backend"),
    "YarnBackend": ("YarnBackend", "DBBackendBase", "Backend"),
    "JobQueueBackend": ("JobQueueBackend", "DBBackendBase", "Backend"),
    "LocalBackend": ("LocalBackend", "DBBackendBase", "Backend"),
    "UnsafeLocalBackend": ("LocalBackend", "DBBackendBase", "Backend"),
    "DBBackendBase": ("DBBackendBase", "Backend"),
}


def row_of_trait(key: str) -> Row | None:
    """The row of `Class.trait`, inherited ones included; None where dask-gateway has no such setting there."""
    name, _, trait = key.partition(".")
    for each in _PARENTS.get(name, (name,)):
        if row := BY_TRAIT.get(f"{each}.{trait}"):
            return row
    return None


def is_for_other_backends(key: str) -> bool:
    """Whether the Kubernetes backend, or the configuration of a cluster, was given what only the others had."""
    name, _, trait = key.partition(".")
    return name in ("KubeBackend", "Backend", "KubeClusterConfig", "ClusterConfig") and trait in _DATABASE_ONLY


def trait_name(key: str) -> str:
    """`KubeClusterConfig.idle_timeout` by the class that has it: `ClusterConfig.idle_timeout`."""
    row = row_of_trait(key)
    trait = key.partition(".")[2]
    return next((each for each in row.traits if each.endswith(f".{trait}")), key) if row else key
