"""`python -m dask_sluice` is the command `dask-sluice`."""

from .cli.main import main

main(prog_name="dask-sluice")
