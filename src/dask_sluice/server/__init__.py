"""The control plane: HTTP, identity, policy, store, reconcile, backends."""
