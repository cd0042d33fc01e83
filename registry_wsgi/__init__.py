"""registry_wsgi: a container registry on one machine, with one data directory."""
