#!/bin/sh
# Any command of the registry, as its user and with its settings: /usr/local/sbin/registry-wsgi.
# Run as root, a command would leave files in the data directory that the registry cannot write.
exec runuser -u registry-wsgi -- /usr/bin/env \
    REGISTRY_WSGI_CONFIG=/etc/registry-wsgi/registry-wsgi.toml \
    /opt/registry-wsgi/bin/registry-wsgi "$@"
