"""How the server does with many: creates, clusters at rest, links, restarts, crowds. `python -m bench.scale`."""
