"""HTTP: each route parses to a type, calls one function of `control`, encodes.

app.py        all routes put together
services.py   what routes may use
edge.py       what happens to every request: id, size limit, foreign origins, last resort, log
gate.py       who is calling
errors.py     every failure in the shape of its part of the site
views.py      records as the API shows them
streams.py    answers that go on: server-sent events, JSON lines
link.py       the WebSocket of agents
proxy.py      what the proxy asks
v2/           our API        v1/  dask-gateway's API        pages/  for people
"""
