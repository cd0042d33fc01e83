"""A client that looks at a registry from outside: what stands in front of it, and what that breaks.

It knows the registry's HTTP interface and nothing of its insides.
"""
