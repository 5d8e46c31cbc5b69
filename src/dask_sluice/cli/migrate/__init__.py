"""`dask-sluice migrate`: what others' configuration means here. Reads and prints; changes nothing, runs nothing.

keys.py            old key, new key: one table for the command and for the page in docs/
sources.py         values files, as helm merges them, with file and line of every key
python_config.py   a configuration in Python: what it sets, its options, its handler; over evaluate.py (expressions)
symbols.py         what an expression comes to that depends on a user's choice
gateway.py         all of dask-gateway, by the table or by a rule: rules.py, login.py, chart.py, hub.py, pods.py
handlers.py        options (fields.py) and what a handler makes of them, as `options`, `profiles` and `policy`
dask_kubernetes.py the same for KubeCluster
draft.py           our settings while they are put together, and as YAML
accepted.py        whether the server would take them
report.py          what is said about the old configuration
"""
