"""What both ends must agree on: states, reasons, options, errors, messages.

Imports nothing of ours and nothing but the standard library, and keeps to Python 3.9 syntax: the
agent carries a copy of this package into whatever environment a cluster runs in.
"""
