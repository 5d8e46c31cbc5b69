"""Users of a JupyterHub: they show the token that their notebook has, or log in on the hub's page.

    settings.py       what an administrator says about the hub
    place.py          where the hub is and who we are to it: from the settings, else from the environment. Pure
    hub.py            the hub's API over HTTP
    callers.py        what the hub's answer makes of a caller. Pure
    authenticator.py  `JupyterHubAuthenticator`: ties them together, remembers answers for a while

What the hub does for us, in its own configuration, is in `dask_sluice/hub_extension.py`.
"""
