"""`dask-sluice ...`, also reachable as `dask sluice ...`."""
