"""Commands: one module a family."""
