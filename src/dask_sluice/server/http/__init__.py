"""Routes: each parses to a type, calls one function of `control`, encodes."""
