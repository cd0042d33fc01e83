"""What the registry does, as an order of effects; knows nothing of HTTP."""
