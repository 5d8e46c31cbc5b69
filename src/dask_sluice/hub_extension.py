"""The hub's side of dask-sluice: everything that a JupyterHub needs, as one include in its configuration.

    from dask_sluice.hub_extension import configure     # in jupyterhub_config.py
    configure(c, url="http://127.0.0.1:8000", api_token="...")

or this file as it is (`dask-sluice hub-extension` prints it), as a part of that configuration: it then takes its
arguments from the chart's value `custom.dask-sluice` on Kubernetes, else from `DASK_SLUICE_HUB_URL` and
`DASK_SLUICE_HUB_TOKEN`. It needs JupyterHub 2.0 or newer, Python 3.9 or newer and nothing of ours, so that it need not
be installed in the hub's image.

It adds to what the configuration says already and replaces nothing that it says; so it is included last.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

HOOK_S = 5.0
"""How long the end of a notebook server waits for ours to take note; it looks by itself as well."""


class Wrong(ValueError):
    """The extension's arguments do not fit together; the sentence says which."""


def configure(
    c: Any,
    *,
    url: str,
    service_name: str = "dask-gateway",
    api_token: str = "",
    address: str = "",
    dask_address: str = "",
    groups: Sequence[str] = (),
    image: bool | None = None,
    variables: Mapping[str, str] | Sequence[str] = (),
    variables_option: str = "variables",
    environment: Mapping[str, str] | None = None,
    tell_ends: bool = True,
    command: Sequence[str] = (),
) -> None:
    """Make a hub's configuration `c` know the dask-sluice server.

    url               where the hub and its proxy reach the server, no path: `http://sluice.dask:8000`
    service_name      what the server is called among the hub's services: `authenticator.jupyterhub.service_name` there
    api_token         the service's token, the same as there; empty: as `c` has it already
    address           the server's address for notebooks; empty: by way of the hub's proxy
    dask_address      `host:port` of the server, as notebooks reach it, for Dask's traffic of dask_gateway's clients;
                      ours need none
    groups            only members of these groups of the hub may use it; empty: everybody
    image             whether clusters run the image of their notebook, by the server's option `image`; None: on
                      Kubernetes
    variables         names out of the notebook's environment that clusters get as well, such as `SCRATCH_BUCKET`, or
                      names with values
    variables_option  the server's option (a mapping) by which they do
    environment       more variables for notebooks
    tell_ends         tell the server when a notebook server ends, so that its clusters end with it
    command           the server's command line, where the hub is to run it (a managed service)
    raises            Wrong
    """
    if not url.startswith(("http://", "https://")) or url.count("/") > 2 + url.endswith("/"):
        raise Wrong(f"url must be the server's address without a path, such as 'http://sluice.dask:8000', got {url!r}")
    url = url.rstrip("/")
    service = _register(c, url, service_name, api_token, command)
    _grant(c, service_name, list(groups))
    if not address:
        _must_know_its_name(c)
    given = _notebook_environment(c, service_name, address, dask_address, image)
    given.update(_passed_on(variables, variables_option))
    given.update(environment or {})
    _add_environment(c, given)
    if _on_kubernetes():
        # By which the chart's network policies let notebooks reach the hub's proxy, where a site lets only some.
        c.KubeSpawner.extra_labels.update({"hub.jupyter.org/network-access-proxy-http": "true"})
    if tell_ends:
        _tell_ends(c, url, service)


# -- the service and its roles


def _register(c: Any, url: str, name: str, api_token: str, command: Sequence[str]) -> dict[str, Any]:
    """The service's entry, made or completed."""
    service = _named(c.JupyterHub, "services", name)
    service.setdefault("url", url)
    service.setdefault("oauth_no_confirm", True)  # it is the hub's own: nobody needs to be asked
    if api_token:
        service["api_token"] = api_token
    if command:
        service["command"] = list(command)
    elif not service.get("api_token"):
        raise Wrong(
            f"the service {name!r} has no api_token: pass api_token=..., the one that the server has as "
            "authenticator.jupyterhub.service_token (on Kubernetes: add `hub.services.%s: {}` to the values)" % name
        )
    return service


def _grant(c: Any, name: str, groups: list[str]) -> None:
    """Users and their notebooks' tokens may use the service; the service may see which notebook servers run."""
    access = f"access:services!service={name}"
    if groups:
        _role(c, f"{name}-users", [access])["groups"] = groups
    else:
        _add_scope(c, "user", access)
    # A token never has more than its owner: those outside the groups gain nothing by it.
    _add_scope(c, "server", access)
    for spawner in _spawners(c, "server_token_scopes"):
        scopes = _value(spawner, "server_token_scopes", None)
        if scopes:  # of its own, instead of the role's
            spawner.server_token_scopes = _with_scope(scopes, access)
    _role(c, f"{name}-service", ["read:servers", access])["services"] = [name]


def _with_scope(scopes: Any, scope: str) -> Any:
    if callable(scopes):
        return lambda spawner: [*scopes(spawner), scope]
    return [*scopes, *([] if scope in scopes else [scope])]


def _role(c: Any, name: str, scopes: Sequence[str]) -> dict[str, Any]:
    role = _named(c.JupyterHub, "load_roles", name)
    held = role.setdefault("scopes", [])
    held.extend(scope for scope in scopes if scope not in held)
    return role


def _add_scope(c: Any, name: str, scope: str) -> None:
    """To one of the hub's own roles. Naming it replaces what it has by default, so that is repeated."""
    from jupyterhub.roles import get_default_roles

    if "scopes" not in _named(c.JupyterHub, "load_roles", name):
        _role(c, name, next(each["scopes"] for each in get_default_roles() if each["name"] == name))
    _role(c, name, [scope])


# -- notebooks


class _AsItStands(str):
    """Text that KubeSpawner leaves alone: it fills in the braces of variables, ours are for the notebook.

    A function is no way out: KubeSpawner 6.1 and 6.2 take it for the value.
    """

    def format(self, *_: Any, **__: Any) -> str:
        return str(self)


def _notebook_environment(c: Any, service: str, address: str, dask_address: str, image: bool | None) -> dict[str, Any]:
    """What depends on the hub is found out when a server starts, when all of its configuration has been read; on
    Kubernetes the chart tells it now.
    """

    def its_address(spawner: Any) -> str:
        return address or _origin_for_notebooks() + _prefix(service)

    def its_path(spawner: Any) -> str:
        return _prefix(service)

    def its_image(spawner: Any) -> str:
        return str(spawner.image)  # of this very notebook, whatever was chosen in a profile

    where: Any = its_address
    path: Any = its_path
    which: Any = its_image
    if _on_kubernetes():
        base = _value(c.JupyterHub, "base_url", "/").strip("/")
        path = _AsItStands(f"{f'/{base}' if base else ''}/services/{service}")
        where = _AsItStands(address or _origin_for_notebooks() + path)
        which = _AsItStands("{JUPYTER_IMAGE_SPEC}")
    given: dict[str, Any] = {}
    for section in ("DASK_SLUICE", "DASK_GATEWAY"):
        given[f"{section}__ADDRESS"] = where
        given[f"{section}__PUBLIC_ADDRESS"] = path
        given[f"{section}__AUTH__TYPE"] = "jupyterhub"
        if image if image is not None else _on_kubernetes():
            given[f"{section}__CLUSTER__OPTIONS__IMAGE"] = which
    if dask_address:
        given["DASK_GATEWAY__PROXY_ADDRESS"] = f"gateway://{dask_address}"
    return given


def _hub() -> Any:
    """The hub's application, whose process this is."""
    from jupyterhub.app import JupyterHub

    return JupyterHub.instance()


def _prefix(service: str) -> str:
    """The server's path with the hub's proxy."""
    return f"{_hub().base_url}services/{service}"


def _must_know_its_name(c: Any) -> None:
    """A certificate is for a name, which nothing but the configuration can tell.

    raises  Wrong
    """
    if not _on_kubernetes():
        if _value(c.JupyterHub, "ssl_cert", ""):
            raise Wrong("the hub speaks https: pass address=..., the server's address for notebooks, in full")
    elif _proxy_is_https() and not _chart("proxy.https.hosts"):
        raise Wrong(
            "the hub's proxy speaks https (proxy.https.type), and proxy.https.hosts does not name it: put its "
            "certificate's name there, or the server's address for notebooks, in full, into custom.dask-sluice.address"
        )


def _origin_for_notebooks() -> str:
    """Scheme, host and port of the hub's proxy, for notebooks."""
    if _on_kubernetes():
        if _proxy_is_https():
            return f"https://{_chart('proxy.https.hosts')[0]}"
        # Where something before the proxy speaks https, plain http is spoken behind it: at a Service of its own with
        # letsencrypt, else at the port named `http`, which then is not the first one.
        host, port = _service("proxy-http", "HOST"), _service("proxy-http", "PORT")
        if not host:
            host = _service("proxy-public", "HOST")
            port = _service("proxy-public", "PORT_HTTP") or _service("proxy-public", "PORT")
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"
    bound = urlsplit(_hub().bind_url)
    host = "127.0.0.1" if bound.hostname in (None, "", "*", "0.0.0.0", "::") else bound.hostname
    return f"{bound.scheme}://{host}:{bound.port}"


def _passed_on(variables: Mapping[str, str] | Sequence[str], option: str) -> dict[str, Any]:
    """Variables that clusters get: our client fills in what is in braces from the notebook's environment."""
    if not variables:
        return {}
    pairs = dict(variables) if isinstance(variables, Mapping) else {name: f"{{{name}}}" for name in variables}
    return {f"DASK_SLUICE__CLUSTER__OPTIONS__{option.upper()}": _AsItStands(json.dumps(pairs))}


def _add_environment(c: Any, given: Mapping[str, Any]) -> None:
    """To what notebooks get; what the configuration says itself stays."""
    for spawner in _spawners(c, "environment"):
        told = _value(spawner, "environment", {})
        spawner["environment"].update({name: value for name, value in given.items() if name not in told})


# -- the end of a notebook server


def _tell_ends(c: Any, url: str, service: Mapping[str, Any]) -> None:
    for spawner in _spawners(c, "post_stop_hook"):
        before = spawner.get("post_stop_hook") if "post_stop_hook" in spawner else None
        spawner.post_stop_hook = _and_tell(before, url, service)


def _and_tell(before: Callable[[Any], Any] | None, url: str, service: Mapping[str, Any]) -> Callable[[Any], Any]:
    """A hook that does what was to be done before, then tells the server; whether it can, changes nothing here."""

    async def told(spawner: Any) -> None:
        try:
            if before is not None:
                done = before(spawner)
                if inspect.isawaitable(done):
                    await done
        finally:
            await _tell(spawner, f"{url}{_prefix(service['name'])}/api/v2/notebooks", service)

    return told


async def _tell(spawner: Any, url: str, service: Mapping[str, Any]) -> None:
    from tornado.httpclient import AsyncHTTPClient, HTTPRequest

    token = service.get("api_token") or _token_of(service["name"])
    request = HTTPRequest(
        url,
        method="POST",
        headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
        body=json.dumps({"user": spawner.user.name}),
        connect_timeout=HOOK_S,
        request_timeout=HOOK_S,
    )
    try:
        await AsyncHTTPClient().fetch(request)
    except Exception as error:  # noqa: BLE001  whatever it is, the server finds out by itself within a minute
        spawner.log.warning(
            "dask-sluice (%s) was not told that a server of %s has ended: %s", url, spawner.user.name, error
        )


def _token_of(name: str) -> str:
    """The token that the hub itself made for a service that it runs."""
    return str(_hub()._service_map[name].api_token)


# -- configuration objects
#
# What is not set is a lazy value of traitlets: what is added to it is added to whatever the hub's other configuration
# files say. So this works in a file of its own, too.


def _value(section: Any, name: str, default: Any) -> Any:
    """What the configuration says."""
    value = section.get(name, default)
    if not hasattr(value, "to_dict"):
        return value
    # Not `get_value`, which would settle for good what other files add to.
    lazy = value.to_dict()
    return lazy.get("update", {}) if isinstance(default, dict) else [*lazy.get("prepend", []), *lazy.get("extend", [])]


def _named(section: Any, setting: str, name: str) -> dict[str, Any]:
    """The entry of this name in a list of such entries, a new one if there is none."""
    for entry in _value(section, setting, []):
        if entry.get("name") == name:
            return entry  # type: ignore[no-any-return]
    section[setting].append(made := {"name": name})
    return made


def _spawners(c: Any, setting: str = "") -> list[Any]:
    """The section of all spawners, and every one of a subclass (that has this setting): it hides what all have."""
    names = {name for name in c if name.endswith("Spawner") and (not setting or setting in c[name])} - {"Spawner"}
    if _on_kubernetes():
        names.add("KubeSpawner")  # the chart sets these there, in a file that we may not see
    return [c.Spawner, *(c[name] for name in sorted(names))]


# -- the JupyterHub chart


def _on_kubernetes() -> bool:
    """Whether this is the hub of the JupyterHub chart."""
    return bool(_service("proxy-public", "HOST") and _service("hub", "HOST"))


def _service(name: str, what: str) -> str:
    """What Kubernetes says of one of the chart's Services in the environment; empty where there is none."""
    try:
        from z2jh import get_name  # the chart's own module, in its hub's image

        name = get_name(name)  # a site may have given it another one
    except ImportError:
        pass
    return os.environ.get(f"{name}_SERVICE_{what}".upper().replace("-", "_"), "")


def _chart(key: str, default: Any = None) -> Any:
    """One of the chart's values; the default where this is not its hub."""
    try:
        from z2jh import get_config
    except ImportError:
        return default
    return get_config(key, default)


def _proxy_is_https() -> bool:
    """Whether the hub's proxy itself has a certificate: then it speaks nothing else."""
    return bool(_chart("proxy.https.enabled")) and _chart("proxy.https.type") in ("manual", "secret")


def _arguments() -> dict[str, Any]:
    """What to do where this file is itself a part of the configuration."""
    given = _chart("custom.dask-sluice", {} if _on_kubernetes() else None)
    if given is None:
        url = os.environ.get("DASK_SLUICE_HUB_URL")
        if not url:
            raise Wrong("DASK_SLUICE_HUB_URL must be the address at which the hub reaches dask-sluice")
        return {"url": url, "api_token": os.environ.get("DASK_SLUICE_HUB_TOKEN", "")}
    known = inspect.signature(configure).parameters
    for name in given:
        if name not in known or name == "c":
            raise Wrong(f"custom.dask-sluice has no {name!r}; it has {', '.join(k for k in known if k != 'c')}")
    if "url" not in given:
        raise Wrong("custom.dask-sluice.url must be the address at which the hub reaches dask-sluice")
    return dict(given)


if "c" in globals():  # run as a part of jupyterhub_config.py
    configure(globals()["c"], **_arguments())
