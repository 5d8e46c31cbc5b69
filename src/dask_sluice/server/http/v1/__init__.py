"""dask-gateway's API, for its unmodified clients from 2022.4 on. Nothing else of the server knows of it.

errors.py   failures as those clients show them
shapes.py   records as those clients read them, to the key
routes.py   the routes
"""
