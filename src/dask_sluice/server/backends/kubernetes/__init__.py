"""The Kubernetes backend: schedulers and workers as pods.

settings.py   what an administrator can set
names.py      names, labels and annotations of objects
overlay.py    what policy says of pods: its shape, how layers of it merge, what can be wrong with it
pods.py       the pod of a job
objects.py    what a pod needs beside it: the Secret with its launch document, the ConfigMap with the agent
"""
