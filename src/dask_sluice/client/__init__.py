"""Runs in the user's notebook or script. Light: dask, distributed, httpx, websockets."""
