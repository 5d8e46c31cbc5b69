"""Runs inside the user's scheduler and worker processes.

Needs distributed (2022.4 or later) and the standard library, nothing else; Python 3.9 syntax. The
server stages a copy of this package and of `wire` beside each job, so environments need nothing of ours.
"""
