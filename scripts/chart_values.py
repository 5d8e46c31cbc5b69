"""The values of the Helm chart: one class a section, from which values.yaml and values.schema.json are written.

    python scripts/chart_values.py --write         # after a change here, of a setting or of the server's rights

`config` is the server's own settings, as `server/settings_schema.py` has them, without what the chart decides. Nothing
that is not here is taken: `helm template` names it. Objects that are Kubernetes' own stand as Kubernetes writes them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from importlib.resources import files as files_of_package
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from dask_sluice.server.settings import Settings

CHART = Path(__file__).resolve().parent.parent / "charts" / "dask-sluice"
THE_CHART_DECIDES: Mapping[str, tuple[str, ...]] = {
    "": ("data_dir",),
    "Authenticator": ("token",),
    "Listen": ("address", "port", "for_proxies", "proxy_token", "tls_certificate", "tls_key"),
    "KubernetesSettings": ("kubeconfig", "context", "isolate_clusters"),
}
"""Settings of the server that values cannot give, by the name of their section's class."""
RIGHTS = ("rights.json", "rights-isolation.json", "rights-warm.json")
"""What the backend may do: always, where each cluster has a network policy, where schedulers wait."""

Object = Annotated[dict[str, Any], WithJsonSchema({"type": "object"})]
Objects = Annotated[list[Object], WithJsonSchema({"type": "array", "items": {"type": "object"}})]
Strings = dict[str, str]
Name = Annotated[str, Field(max_length=63, pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$")]


class Values(BaseModel):
    """A section of the values."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Toleration(Values):
    """A toleration, as Kubernetes writes it."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    tolerationSeconds: int | None = None


class Affinity(Values):
    """Affinity, as Kubernetes writes it."""

    nodeAffinity: Object | None = None
    podAffinity: Object | None = None
    podAntiAffinity: Object | None = None


class Placement(Values):
    """Where pods run. The same keys stand under `server`, `proxy` and `tests`; what is given there replaces this."""

    nodeSelector: Strings = {}
    """Labels that a node must have."""
    tolerations: list[Toleration] = []
    """Taints that are tolerated."""
    affinity: Affinity = Affinity()
    """Affinity."""
    topologySpreadConstraints: Objects = []
    """How pods are spread. Empty: over nodes, where that is possible."""
    priorityClassName: str = ""
    """Priority class."""


class OwnPlacement(Values):
    """Where this pod runs; null: as `placement` says."""

    nodeSelector: Strings | None = None
    tolerations: list[Toleration] | None = None
    affinity: Affinity | None = None
    topologySpreadConstraints: Objects | None = None
    priorityClassName: str | None = None


class Resources(Values):
    """Resources of a container, as Kubernetes writes them."""

    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


class Pod(Values):
    """What every pod of the chart knows."""

    resources: Resources = Resources()
    """Requests and limits. No CPU limit by default: it would only make the server slow when it is needed most."""
    placement: OwnPlacement = OwnPlacement()
    """Where it runs, over `placement` above."""
    labels: Strings = {}
    """Further labels of the pod."""
    annotations: Strings = {}
    """Annotations of the pod."""
    env: Objects = []
    """Environment variables, as Kubernetes writes them."""
    envFrom: Objects = []
    """Secrets and ConfigMaps whose keys become environment variables."""
    volumes: Objects = []
    """Further volumes of the pod."""
    volumeMounts: Objects = []
    """Where they are mounted."""
    containers: Objects = []
    """Further containers of the pod."""
    initContainers: Objects = []
    """Containers that run to their end before ours starts."""
    command: list[str] | None = None
    """Another command than the image's."""
    podSecurityContext: Object = {}
    """Laid over the pod's security context, which keeps to Pod Security `restricted`."""
    securityContext: Object = {}
    """Laid over the container's."""


class Image(Values):
    """The image of server and proxy."""

    repository: str = "dask-sluice"
    """Its name, registry included. See Dockerfile and `make image`."""
    tag: str = ""
    """Its tag. Empty: the chart's appVersion."""
    digest: str = ""
    """Its digest, `sha256:...`; goes before the tag."""
    pullPolicy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When it is pulled."""


class Data(Values):
    """Where the server keeps its SQLite file, if `config.database.url` names no PostgreSQL."""

    type: Literal["claim", "emptyDir"] = "claim"
    """`claim`: a PersistentVolumeClaim. `emptyDir`: gone with the pod, and clusters with it; for trying things out."""
    existingClaim: Name = ""
    """Name of a claim that is there already. Empty: the chart makes one, and leaves it there when it is uninstalled."""
    storageClassName: str | None = None
    """Storage class of the claim. Null: the default one; empty: none."""
    size: str = "5Gi"
    """Size of the claim. The ledger takes about 200 bytes for each process that ever ran."""


class SecretFiles(Values):
    """Some keys of an existing Secret."""

    name: Name
    """Its name."""
    keys: list[str]
    """The keys that are mounted."""


class Server(Pod):
    """The servers: API, policy, and the loop that starts and ends clusters."""

    replicas: int = Field(1, ge=1)
    """How many; more than one need a PostgreSQL (`config.database.url`)."""
    data: Data = Data()
    """The data directory."""
    secrets: list[Name | SecretFiles] = []
    """Existing Secrets that are mounted, each key as a file `/etc/dask-sluice/secrets/NAME/KEY`; for `config`, which
    takes `{file: PATH}` wherever it takes a secret. A name, or `{name: NAME, keys: [KEY]}` for some keys only."""
    serviceAccount: ServiceAccount = Field(default_factory=lambda: ServiceAccount())
    """By which the server reaches the Kubernetes API."""
    podDisruptionBudget: bool = True
    """Whether drains of nodes leave all but one of several servers running."""
    resources: Resources = Resources(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "1Gi"})
    """Requests and limits."""


class ServiceAccount(Values):
    """A service account."""

    create: bool = True
    """Whether the chart makes it."""
    name: Name = ""
    """Its name. Empty: that of the server's Deployment, or `default` where the chart makes none."""
    annotations: Strings = {}
    """Its annotations."""


class TLS(Values):
    """HTTPS at the proxy itself; an Ingress or a Gateway has its own."""

    secretName: Name = ""
    """Secret of the type kubernetes.io/tls. Empty: plain HTTP. Dask's own traffic is always encrypted."""


class Proxy(Pod):
    """The proxies: the one address of API, page, dashboards and Dask's own traffic."""

    replicas: int = Field(2, ge=1)
    """How many."""
    graceSeconds: int = Field(600, ge=0)
    """How long connections may go on when a proxy is to stop. A Dask client that is cut off forgets its futures; new
    connections go to other proxies at once."""
    tls: TLS = TLS()
    """HTTPS."""
    podDisruptionBudget: bool = True
    """Whether drains of nodes leave all but one of several proxies running."""
    resources: Resources = Resources(requests={"cpu": "100m", "memory": "96Mi"}, limits={"memory": "512Mi"})
    """Requests and limits."""


class Port(Values):
    """A Service."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Its type."""
    port: int = Field(80, ge=1, le=65535)
    """Its port."""
    nodePort: int | None = None
    """Its port on nodes. Null: Kubernetes takes one."""
    annotations: Strings = {}
    """Its annotations."""
    loadBalancerIP: str = ""
    """A fixed address, where the cloud takes it from here."""
    loadBalancerClass: str = ""
    """Which load balancer."""
    loadBalancerSourceRanges: list[str] = []
    """Networks from which a LoadBalancer takes connections. Empty: everywhere."""
    externalTrafficPolicy: Literal["Cluster", "Local", ""] = ""
    """`Local` keeps the addresses of clients, which limits for each address need."""


class DaskPort(Port):
    """A second Service for Dask's traffic alone, where it has an address of its own (`config.listen.dask_address`)."""

    enabled: bool = False
    """Whether there is one."""
    port: int = Field(8786, ge=1, le=65535)
    """Its port."""


class Service(Port):
    """The Service of the proxies, named as the release: the one address."""

    dask: DaskPort = DaskPort()
    """A second Service for Dask's traffic alone."""
    aliases: list[Name] = []
    """Further Services of the same, by other names: `traefik-RELEASE-dask-gateway`, while notebooks still have it."""


class IngressTLS(Values):
    """Certificate of an Ingress."""

    secretName: str = ""
    hosts: list[str] = []


class Ingress(Values):
    """An Ingress. Dask's traffic then goes through a WebSocket by itself, or by `service.dask`."""

    enabled: bool = False
    """Whether there is one."""
    className: str = ""
    """Its class. Empty: the default one."""
    annotations: Strings = {}
    """Its annotations. Long polls take 25 s, WebSockets days: time-outs below that cut them."""
    hosts: list[str] = []
    """Host names. Empty: all."""
    path: str = ""
    """Path. Empty: `config.listen.prefix`, else `/`."""
    tls: list[IngressTLS] = []
    """Certificates."""


class GatewayRoutes(Values):
    """Routes of the Gateway API."""

    enabled: bool = False
    """Whether there is an HTTPRoute."""
    parentRefs: Objects = []
    """The Gateways, as Kubernetes writes it."""
    hostnames: list[str] = []
    """Host names. Empty: those of the Gateway."""
    annotations: Strings = {}
    """Annotations of the routes."""
    daskParentRefs: Objects = []
    """Listeners for TCP that carry Dask's traffic, by a TCPRoute. Empty: none."""


class RBAC(Values):
    """The server's rights in Kubernetes: a Role, nothing that counts for the whole of Kubernetes."""

    create: bool = True
    """Whether the chart makes Role and RoleBinding, in each namespace where clusters run."""
    namespaces: list[Name] = []
    """Further namespaces where clusters run: those of users, of profiles. They must be there already."""
    clusterWide: bool = False
    """A ClusterRole instead, for namespaces that nobody can list beforehand (`dask-{user.escaped}`)."""


class Egress(Values):
    """Where schedulers and workers may connect to, beside one another, the server and DNS."""

    internet: bool = True
    """Addresses outside of private networks."""
    privateNetworks: bool = False
    """Private networks, and with them other pods and databases of the site."""
    metadataServer: bool = False
    """The cloud's metadata server (169.254.169.254), which gives out the node's credentials to whoever asks."""
    extra: Objects = []
    """Further rules, as Kubernetes writes them."""


class Ingresses(Values):
    """Who may connect, beside those who must."""

    extra: Objects = []
    """Further peers, as Kubernetes writes them in `from`."""


class ProxyPolicy(Values):
    """Who may connect to the proxies."""

    open: bool = True
    """Everybody. False: only workers, and whom `extra` names."""
    extra: Objects = []
    """Further peers, as Kubernetes writes them in `from`, such as the hub's proxy and notebooks."""


class NetworkPolicy(Values):
    """Network policies for server, proxy, schedulers and workers. Some networks of Kubernetes do not enforce them."""

    enabled: bool = True
    """Whether there are any."""
    server: Ingresses = Ingresses()
    """Who may reach the server, beside proxies and schedulers: Prometheus, for one."""
    proxy: ProxyPolicy = ProxyPolicy()
    """Who may reach the proxies."""
    dask: Ingresses = Ingresses()
    """Who may reach schedulers and workers, beside proxies and one another: Prometheus, for one."""
    egress: Egress = Egress()
    """Where schedulers and workers may connect to."""
    dns: Objects = []
    """DNS servers, as Kubernetes writes peers. Empty: any address at port 53."""


class SecretKey(Values):
    """A key of an existing Secret."""

    name: Name = ""
    key: str = "token"


class ServiceMonitor(Values):
    """For the Prometheus operator."""

    enabled: bool = False
    """Whether there is one."""
    interval: str = "30s"
    """How often."""
    labels: Strings = {}
    """Labels by which Prometheus finds it."""
    tokenSecret: SecretKey = SecretKey()
    """Existing Secret with the token that `config.metrics.token` names."""


class Dashboard(Values):
    """A ConfigMap with a board for Grafana, as its sidecar finds it."""

    enabled: bool = False
    """Whether there is one."""
    labels: Strings = {"grafana_dashboard": "1"}
    """Its labels."""
    annotations: Strings = {}
    """Its annotations, such as `grafana_folder`."""


class Monitoring(Values):
    """Prometheus and Grafana."""

    serviceMonitor: ServiceMonitor = ServiceMonitor()
    """For the Prometheus operator."""
    grafanaDashboard: Dashboard = Dashboard()
    """For Grafana."""


class Keys(Values):
    """The secret between servers and proxies, and the token of the login by token."""

    existingSecret: Name = ""
    """Existing Secret with `proxy-token` and, for the authenticator `token`, `token`, 16 characters or more. Empty: the
    chart makes one and keeps it over upgrades; tools that render without asking Kubernetes need an existing one."""


class Tests(Pod):
    """What `helm test` runs: `dask-sluice doctor`, from login to a result and a dashboard."""

    enabled: bool = True
    """Whether there is a test."""
    image: str = ""
    """Image with dask-sluice and a Dask that fits that of clusters. Empty: the server's."""
    stepSeconds: int = Field(300, ge=1)
    """How long each step may take; images have to be pulled."""
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "128Mi"}, limits={"memory": "512Mi"})
    """Requests and limits."""


class Check(Pod):
    """A Job before each install and upgrade: `dask-sluice check-config`, so that what is wrong ends no server."""

    enabled: bool = True
    """Whether there is one."""
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "96Mi"}, limits={"memory": "512Mi"})
    """Requests and limits."""


class PlaceholderPriority(Values):
    """The PriorityClass that lets everybody else take their place. It counts for the whole of Kubernetes."""

    create: bool = True
    """Whether the chart makes it; installing it needs the right to."""
    name: Name = ""
    """Its name. Empty: NAMESPACE-NAME-placeholder."""
    value: int = Field(-10, lt=0)
    """Its priority. Below -10, the cluster autoscaler makes no room for such pods by default."""


class Placeholders(Values):
    """Pods that do nothing but keep room on nodes of clusters: they are put out by whatever comes, wait for room
    themselves, and so have the cluster autoscaler bring the next node before somebody waits for it."""

    replicas: int = Field(0, ge=0)
    """How many. 0: none."""
    resources: Resources = Resources(requests={"cpu": "1", "memory": "4Gi"})
    """Room that each keeps: that of a worker, or of a whole node."""
    priorityClass: PlaceholderPriority = PlaceholderPriority()
    """Their priority."""
    image: str = ""
    """Their image, with a `python`. Empty: the chart's."""
    nodeSelector: Strings = {}
    """Labels that a node must have: as clusters' pods have it."""
    tolerations: list[Toleration] = [
        Toleration(key="k8s.dask.org/dedicated", operator="Exists"),
        Toleration(key="k8s.dask.org_dedicated", operator="Exists"),
    ]
    """Taints that are tolerated. By default: those of Dask's own nodes."""
    affinity: Affinity = Affinity()
    """Affinity."""
    labels: Strings = {}
    """Further labels of the pods."""
    annotations: Strings = {}
    """Annotations of the pods."""


class Chart(Values):
    """All values, but for `config`."""

    enabled: bool = True
    """For charts that have this one as a dependency: `condition: dask-sluice.enabled`."""
    nameOverride: Name = ""
    """Stands for the chart's name in names."""
    fullnameOverride: Name = ""
    """The name of everything, instead of RELEASE-dask-sluice."""
    labels: Strings = {}
    """Further labels of everything."""
    image: Image = Image()
    """The image."""
    imagePullSecrets: list[Name] = []
    """Secrets with which the image is pulled."""
    podIds: Literal["chart", "cluster"] = "chart"
    """Who gives pods their user and group ids. `chart`: 1000. `cluster`: pods ask for none, Dask's neither: OpenShift
    gives each namespace ids of its own and refuses pods that ask for others."""
    listenAddress: str = "0.0.0.0"
    """Where server and proxy listen: `::` where Kubernetes has IPv6 only."""
    keys: Keys = Keys()
    """Secrets of the chart itself."""
    placement: Placement = Placement()
    """Where all pods of the chart run. Clusters: `config.backend.kubernetes`."""
    server: Server = Server()
    """The servers."""
    proxy: Proxy = Proxy()
    """The proxies."""
    service: Service = Service()
    """How people and notebooks reach the proxies."""
    ingress: Ingress = Ingress()
    """An Ingress."""
    gateway: GatewayRoutes = GatewayRoutes()
    """Routes of the Gateway API."""
    rbac: RBAC = RBAC()
    """The server's rights."""
    networkPolicy: NetworkPolicy = NetworkPolicy()
    """Network policies."""
    monitoring: Monitoring = Monitoring()
    """Prometheus and Grafana."""
    placeholders: Placeholders = Placeholders()
    """Room on nodes, kept for those who come next."""
    check: Check = Check()
    """A look at the settings before each install and upgrade."""
    tests: Tests = Tests()
    """`helm test`."""


Server.model_rebuild()

_HEAD = """\
# Values of the chart dask-sluice, with their defaults. Written by scripts/chart_values.py; values.schema.json, too.
# A key that is not here is refused, with its place. docs/kubernetes-install.md tells how to begin.

# The settings of the server, as docs/configuration.md lists them; they go to it unchanged. The chart decides where it
# listens and keeps its data, and gives defaults to `listen.agent_url`, `backend.kind` (kubernetes),
# `backend.kubernetes.instance`, `on_stop` (keep_clusters).
config: {}
"""


def schema() -> dict[str, Any]:
    """The JSON schema of all values."""
    document = Chart.model_json_schema(ref_template="#/$defs/{model}")
    settings = Settings.model_json_schema(ref_template="#/$defs/config.{model}")
    defs = {f"config.{name}": section for name, section in settings.pop("$defs").items()}
    for name, keys in THE_CHART_DECIDES.items():
        section = defs[f"config.{name}"] if name else settings
        for key in keys:
            del section["properties"][key]
    document["$defs"] = dict(sorted({**document["$defs"], **defs, "config": settings}.items()))
    described = {"description": "Settings of the server, see docs/configuration.md."}
    document["properties"] = {
        "config": {"$ref": "#/$defs/config"} | described,
        "global": {"type": "object", "description": "Helm's own; not used."},
        **document["properties"],
    }
    plain: dict[str, Any] = _without_titles(document)
    return {"$schema": "http://json-schema.org/draft-07/schema#", **plain}


def values() -> str:
    """values.yaml, with a comment on every key."""
    return _HEAD + "\n".join(_section(Chart(), 0)) + "\n"


def _section(section: BaseModel, depth: int) -> Iterator[str]:
    own = type(section).__annotations__  # before what it has in common with others
    for name, field in sorted(type(section).model_fields.items(), key=lambda each: each[0] not in own):
        value = getattr(section, name)
        indent = "  " * depth
        if depth == 0:
            yield ""
        if field.description:
            yield from (f"{indent}# {line}" for line in wrap(" ".join(field.description.split()), 110 - len(indent)))
        if isinstance(value, Values) and type(value) not in (OwnPlacement, Affinity, Resources):
            yield f"{indent}{name}:"
            yield from _section(value, depth + 1)
        else:
            plain = value.model_dump(exclude_defaults=True) if isinstance(value, Values) else value
            yield f"{indent}{name}: {_flow(plain)}"


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


def _without_titles(node: Any, *, named: bool = False) -> Any:
    """Without `title`, which repeats the key, and `default`, which values.yaml tells; keys of a mapping stay."""
    if isinstance(node, list):
        return [_without_titles(each) for each in node]
    if not isinstance(node, dict):
        return node
    kept = node if named else {key: value for key, value in node.items() if key not in ("title", "default")}
    return {
        key: _without_titles(value, named=key in ("properties", "$defs") and not named) for key, value in kept.items()
    }


def files() -> dict[str, str]:
    """What is written, by its place in the chart."""
    package = files_of_package("dask_sluice.server.backends.kubernetes")
    return {
        "values.yaml": values(),
        "values.schema.json": json.dumps(schema(), indent=1) + "\n",
        **{f"files/{name}": (package / name).read_text() for name in RIGHTS},
    }


if __name__ == "__main__":
    if "--write" not in sys.argv:
        sys.exit(__doc__)
    for name, content in files().items():
        (CHART / name).write_text(content)
