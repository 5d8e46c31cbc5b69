"""A hub as BinderHub has it: nobody logs in; BinderHub makes a user for each session by the hub's API, with a name that
nobody can guess, and a server with the image that it has built. Sessions are short, and the culler deletes their users.
On Kubernetes these are values of BinderHub's chart; here they are complete, and tests/hub/test_binder.py runs them.
"""

import os
import sys

from dask_sluice.hub_extension import configure

c = get_config()  # noqa: F821

c.JupyterHub.authenticator_class = "null"
c.JupyterHub.services.extend(
    [
        {"name": "binder", "api_token": os.environ["BINDER_TOKEN"]},
        {
            "name": "cull",
            "command": [
                *(sys.executable, "-m", "jupyterhub_idle_culler"),
                *("--timeout=600", "--cull-every=60", "--max-age=21600", "--cull-users=true"),
            ],
        },
    ]
)
c.JupyterHub.load_roles.extend(
    [
        {"name": "binder", "services": ["binder"], "scopes": ["servers", "admin:users"]},
        {
            "name": "cull",
            "services": ["cull"],
            "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers", "admin:users"],
        },
    ]
)

configure(
    c,
    url=os.environ["DASK_SLUICE_HUB_URL"],
    api_token=os.environ["DASK_SLUICE_HUB_TOKEN"],
    image=True,  # clusters run the image of their session
)
