"""What a user of clusters on a real Kubernetes waits for, and for whom: `python -m bench.kubernetes`."""
