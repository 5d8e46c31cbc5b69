"""Dask clusters on shared machines, through one address."""
