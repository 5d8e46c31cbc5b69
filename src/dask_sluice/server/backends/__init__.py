"""One module or package per resource manager; none knows another."""
