"""The stack's parts: one ComponentResource a file, and the pure modules that they are built from."""
