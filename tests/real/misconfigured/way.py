"""What may be wrong on the way to a server: address, name, network, TLS, whoever answers instead."""

from __future__ import annotations

from .catalogue import Catalogue
from .standins import Seen, Site

ENTRIES = Catalogue()


@ENTRIES.add(
    "no http:// in the address",
    "address",
    "the server's address must look like https://host[:port][/prefix], got '{address}'",
    "Perhaps http://{address}, or https?",
)
def no_scheme(site: Site) -> Seen:
    return site.doctor("localhost:8000")


@ENTRIES.add(
    "no address configured, and no server on this machine",
    "address",
    "no server is configured, and none runs on this machine for {home} (looked in {data directory}).",
    "Start one: dask-sluice serve. Or name one: --address http://...",
)
def no_address(site: Site) -> Seen:
    return site.doctor("", "--data-dir", str(site.data_dir()))


@ENTRIES.add(
    "an unknown login in Dask's configuration",
    "address",
    "auth='{name}' is not known; did you mean 'jupyterhub'?",
    "Known are token, basic, jupyterhub, kerberos, or an import path; sluice.auth.type in Dask's configuration "
    "sets it.",
)
def unknown_login(site: Site) -> Seen:
    return site.doctor(site.live.address, DASK_SLUICE__AUTH__TYPE="jupyterhb")


@ENTRIES.add(
    "the login of a hub, outside of the hub",
    "address",
    "JupyterHubAuth needs a token, and JUPYTERHUB_API_TOKEN is not set: this process was not started by a hub",
    "Pass api_token=..., or use TokenAuth or BasicAuth (sluice.auth.type in Dask's configuration).",
)
def no_hub_here(site: Site) -> Seen:
    return site.doctor(site.live.address, DASK_SLUICE__AUTH__TYPE="jupyterhub")


@ENTRIES.add(
    "a host name that nobody knows",
    "name",
    "no address is known for the name '{host}'",
    "Is it spelt right? Is the network there, or the VPN, whose name server knows it?",
)
def unknown_name(site: Site) -> Seen:
    too_long_for_any_name_server = ".".join(["a" * 60] * 5)
    return site.doctor(f"http://{too_long_for_any_name_server}:8000")


@ENTRIES.add(
    "nothing listens at the port",
    "network",
    "nothing listens at {host}, port {port}",
    "Is the server running, and is this its port? `dask-sluice serve` prints the address when it is ready.",
)
def nothing_listens(site: Site) -> Seen:
    return site.doctor(f"http://{site.closed_port()}")


@ENTRIES.add(
    "a firewall drops what is sent to the port",
    "network",
    "{host} does not react at port {port}, not even by refusing",
    "A firewall drops what is sent to that port, or the machine is off. Ask for the port to be opened.",
)
def dropped(site: Site) -> Seen:
    return site.doctor(f"http://{site.black_hole()}")


@ENTRIES.add(
    "an HTTP proxy is configured that is not there",
    "network",
    "the HTTP proxy {address} does not lead to {host}: connection refused",
    "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names it, or sluice.http-client.proxy in Dask's configuration; NO_PROXY"
    " names hosts that need none.",
)
def http_proxy_away(site: Site) -> Seen:
    return site.doctor("http://dask.example.org", HTTP_PROXY=f"http://{site.closed_port()}")


@ENTRIES.add(
    "https to a server that has no certificate",
    "tls",
    "{host and port} refuses TLS to {host}",
    "A server without a certificate does that: try {http address}, or set listen.tls_certificate. Others do it "
    "where the name is not one of theirs.",
)
def https_to_ours(site: Site) -> Seen:
    return site.doctor(site.live.address.replace("http:", "https:"))


@ENTRIES.add(
    "https to a port of plain http",
    "tls",
    "the address begins with https, and {host and port} does not speak TLS",
    "Try {http address}. If the server is meant to have TLS: listen.tls_certificate is not set, or the proxy in "
    "front of it ends TLS at another port.",
)
def https_to_http(site: Site) -> Seen:
    return site.doctor(site.answers(404).replace("http:", "https:"))


@ENTRIES.add(
    "a certificate of an authority that is not known here",
    "tls",
    "the certificate of {host} is signed by an authority that is not known here",
    "Set SSL_CERT_FILE to a file with the authority's certificate. A firewall that opens TLS looks like this too.",
)
def unknown_authority(site: Site) -> Seen:
    return site.doctor(site.tls())


@ENTRIES.add(
    "a certificate signed by itself",
    "tls",
    "the certificate of {host} is signed by nobody but itself",
    "Set SSL_CERT_FILE to a file with that certificate, or have the server use one of an authority known here.",
)
def self_signed(site: Site) -> Seen:
    return site.doctor(site.tls(self_signed=True))


@ENTRIES.add(
    "an expired certificate",
    "tls",
    "the certificate of {host} has expired",
    "Whoever runs the server has to renew it; if it is said to be in order, look at the clock of this machine.",
)
def expired(site: Site) -> Seen:
    return site.doctor(site.tls(days=(-9, -2)), **site.knows_authority)


@ENTRIES.add(
    "a clock that is slow, or a certificate for later",
    "tls",
    "the certificate of {host} is not valid yet",
    "Compare the clocks: most often that of this machine is wrong. Else the certificate was made for later.",
)
def not_yet_valid(site: Site) -> Seen:
    return site.doctor(site.tls(days=(2, 9)), **site.knows_authority)


@ENTRIES.add(
    "a certificate for another name",
    "tls",
    "the certificate of {host} is for another name",
    "Use the name that the certificate is for, or have it made for this one.",
)
def other_name(site: Site) -> Seen:
    return site.doctor(site.tls("dask.example.org"), **site.knows_authority)


@ENTRIES.add(
    "http to a port of https",
    "server",
    "what listens at {host}, port {port}, does not answer in HTTP",
    "A port that wants TLS behaves like this: try {https address}",
)
def http_to_https(site: Site) -> Seen:
    return site.doctor(site.tls().replace("https:", "http:"))


@ENTRIES.add(
    "http to a port of https, which says so",
    "server",
    "the port of {address} wants TLS",
    "Use {https address}.",
)
def http_to_polite_https(site: Site) -> Seen:
    return site.doctor(site.answers(400, "<h1>The plain HTTP request was sent to HTTPS port</h1>"))


@ENTRIES.add(
    "http where everybody is sent on to https",
    "server",
    "{address} sends everybody on to https",
    "Use {https address}.",
)
def sent_on_to_https(site: Site) -> Seen:
    return site.doctor(site.answers(308, Location="https://127.0.0.1:8443/health"))


@ENTRIES.add(
    "a path that is missing or wrong",
    "server",
    "somebody answers at {address} ({program}), and knows no dask-sluice server there (status 404)",
    "Is the path right, or missing? Behind a hub it is https://HUB/services/NAME. A server of dask-gateway "
    "answers like this too, and needs the client of dask-gateway.",
)
def wrong_path(site: Site) -> Seen:
    return site.doctor(site.answers(404, "<h1>Not Found</h1>"))


@ENTRIES.add(
    "the address of another web site",
    "server",
    "{address} is another web site ({program}): it answers with a page where a server answers with JSON",
    "Is the path missing, or the host another one? Open the address in a browser: the page has a name.",
)
def another_site(site: Site) -> Seen:
    return site.doctor(site.answers(200, "<title>Our wiki</title>"))


@ENTRIES.add(
    "the server's own prefix left out",
    "server",
    "There is nothing at /health.",
    "Everything here is under {prefix}/.",
)
def no_prefix(site: Site) -> Seen:
    return site.doctor(site.shared.address.removesuffix("/services/dask"))


@ENTRIES.add(
    "the address of another program",
    "server",
    "the program at {address} answers in JSON, and is no dask-sluice server",
    "Is the path right, or missing? Is the host another one?",
)
def another_program(site: Site) -> Seen:
    return site.doctor(site.answers(200, '{"status": "pass"}', "application/json"))


@ENTRIES.add(
    "the server behind a proxy is away, or has another port",
    "server",
    "a proxy in between ({program}) gets no usable answer from the server behind it (status 502)",
    "The way leads as far as that proxy: is the server behind it running, and does the proxy know its port?",
)
def bad_gateway(site: Site) -> Seen:
    return site.doctor(site.answers(502, "<h1>502 Bad Gateway</h1>"))


@ENTRIES.add(
    "a load balancer has no server left",
    "server",
    "a proxy in between ({program}) has no server behind it just now (status 503)",
    "The way leads as far as that proxy: is the server behind it running, and does the proxy know its port?",
)
def nothing_behind(site: Site) -> Seen:
    return site.doctor(site.answers(503, "<h1>503 Service Temporarily Unavailable</h1>"))


@ENTRIES.add(
    "a firewall between a proxy and the server",
    "server",
    "a proxy in between ({program}) waits in vain for the server behind it (status 504)",
    "The way leads as far as that proxy: is the server behind it running, and does the proxy know its port?",
)
def gateway_timeout(site: Site) -> Seen:
    return site.doctor(site.answers(504, "<h1>504 Gateway Time-out</h1>"))


@ENTRIES.add(
    "something else fails at the address",
    "server",
    "{address} answered GET /health with status 500 and text/plain, which no dask-sluice server sends",
    "Something else listens there, or a proxy in between answers by itself.",
)
def internal_server_error(site: Site) -> Seen:
    return site.doctor(site.answers(500, "Internal Server Error", "text/plain"))


@ENTRIES.add(
    "a hub's login page at the address",
    "server",
    "{address} leads to a JupyterHub's login page, {page}, where a server would answer",
    "Is it the address of something else? A hub's service has https://HUB/services/NAME. If a login stands in "
    "front of the server, it has to let the path /api pass.",
)
def login_page(site: Site) -> Seen:
    return site.doctor(site.answers(302, Location="/hub/login?next=%2Fhub%2F") + "/hub")


@ENTRIES.add(
    "no service of that name in the hub's configuration",
    "server",
    "JupyterHub answers at {address}, but its proxy has no route to that service",
    "Either no service of this name is in the hub's `services`, or the proxy was just restarted: within a few "
    "minutes the hub tells it all routes again.",
)
def no_route_in_hub(site: Site) -> Seen:
    return site.doctor(site.answers(302, Location="/hub/services/dask/health") + "/services/dask")


@ENTRIES.add(
    "a login in front of the server",
    "server",
    "something in front of the server ({program}) asks for a login of its own (status 401)",
    "It has to let the path /api pass: what a dask-sluice server protects, it protects by itself.",
)
def login_in_front(site: Site) -> Seen:
    return site.doctor(site.answers(401, "<h1>401 Authorization Required</h1>"))


@ENTRIES.add(
    "the server is away, its proxy is not",
    "server",
    "The dask-sluice server does not answer just now; clusters that are running go on computing. (request {id})",
    "Try again in a few seconds. If it stays away, whoever runs it has to start it; its log says why it ended.",
)
def server_away(site: Site) -> Seen:
    site.shared.kill()
    try:
        return site.doctor(site.shared.url)
    finally:
        site.shared.start()
