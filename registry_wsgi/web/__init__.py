"""HTTP: requests in, answers out; no storage, no policy."""
