"""The data plane: its own process. Carries Dask traffic and dashboards; knows routes, nothing else."""
