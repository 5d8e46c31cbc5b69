"""The Kubernetes backend: schedulers and workers as pods.

settings.py   what an administrator can set
syntax.py     what Kubernetes accepts as names, labels and amounts
names.py      names, labels and annotations of objects
overlay.py    what policy says of pods: its shape, how layers of it merge, what can be wrong with it
reserved.py   what it may not say
schema.py     values held against the schema of Kubernetes, schema.json
placement.py  on which nodes a pod may run
pods.py       the pod of a job
preview.py    the pods that a cluster would have
objects.py    what a pod needs beside it: the Secret with its launch document, the ConfigMap with the agent
"""
