"""What the JupyterHub chart's file of this name does with its values, as far as they are needed here, in its order."""

# ruff: noqa: F821   the hub gives `c`
# mypy: ignore-errors

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from z2jh import get_config, get_secret_value

c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.ConfigurableHTTPProxy.api_url = f"http://proxy-api:{os.environ['PROXY_API_SERVICE_PORT']}"
c.ConfigurableHTTPProxy.should_start = False
c.JupyterHub.cleanup_servers = False
c.JupyterHub.cookie_secret = bytes.fromhex(get_secret_value("hub.config.JupyterHub.cookie_secret"))
c.JupyterHub.db_url = "sqlite://"
c.JupyterHub.base_url = get_config("hub.baseUrl")
c.JupyterHub.allow_named_servers = get_config("hub.allowNamedServers")
c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.hub_connect_url = f"http://hub:{os.environ['HUB_SERVICE_PORT']}"

c.KubeSpawner.namespace = os.environ["POD_NAMESPACE"]
c.KubeSpawner.common_labels = {
    "app": "jupyterhub",
    "release": get_config("Release.Name"),
    "app.kubernetes.io/name": "jupyterhub",
    "app.kubernetes.io/instance": get_config("Release.Name"),
}
c.KubeSpawner.extra_labels = {"hub.jupyter.org/network-access-hub": "true"}
c.KubeSpawner.image = f"{get_config('singleuser.image.name')}:{get_config('singleuser.image.tag')}"
c.KubeSpawner.image_pull_policy = "IfNotPresent"
c.KubeSpawner.profile_list = get_config("singleuser.profileList")
c.KubeSpawner.environment = get_config("singleuser.extraEnv")
c.KubeSpawner.volumes = get_config("singleuser.storage.extraVolumes")
c.KubeSpawner.volume_mounts = get_config("singleuser.storage.extraVolumeMounts")
for kind in ("cpu", "memory"):
    for bound in ("guarantee", "limit"):
        trait = f"{kind.removesuffix('ory')}_{bound}"
        setattr(c.KubeSpawner, trait, get_config(f"singleuser.{kind}.{bound}"))
c.Spawner.cmd = get_config("singleuser.cmd")
c.KubeSpawner.uid = 1000
c.KubeSpawner.fs_gid = 100
c.KubeSpawner.allow_privilege_escalation = False
# A site with Pod Security `restricted` says this in singleuser.extraPodConfig.
c.KubeSpawner.container_security_context = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
c.KubeSpawner.delete_grace_period = 1

for name, service in get_config("hub.services", {}).items():
    service = {"name": name, **(service or {})}
    service.pop("apiToken", None)
    c.JupyterHub.services.append({**service, "api_token": get_secret_value(f"hub.services.{name}.apiToken")})
for name, role in get_config("hub.loadRoles", {}).items():
    c.JupyterHub.load_roles.append({"name": name, **role})
for section, traits in get_config("hub.config", {}).items():
    c[section].update(traits)
for name, code in sorted(get_config("hub.extraConfig", {}).items()):
    print(f"Loading extra config: {name}")
    exec(code)
