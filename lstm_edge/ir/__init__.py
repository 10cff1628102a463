"""The graph and what its ops mean: nodes over tensors, the table of ops, symbolic sizes, shapes."""
