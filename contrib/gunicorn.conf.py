"""The registry under gunicorn's own command, with all that `registry-wsgi serve` tells gunicorn.

    REGISTRY_WSGI_CONFIG=/etc/registry-wsgi/registry-wsgi.toml \
        gunicorn -c contrib/gunicorn.conf.py 'registry_wsgi:create_app()'

Without REGISTRY_WSGI_CONFIG the settings are those of the environment alone. `bind`, `workers`,
`threads` and `graceful_timeout` are settings of the registry, in [server]; every value, with its
reason, is in registry_wsgi/server/serve.py, and `gunicorn --print-config` shows it. What is
assigned at the end of this file wins, for instance:

    worker_tmp_dir = "/run/registry-wsgi"

HUP reads the settings, the keys and the accounts anew; requests in flight are answered by the
processes that have them. TERM stops in the same way.
"""

from registry_wsgi.server.conffile import CONF_FILE
from registry_wsgi.server.serve import post_worker_init

__all__ = ["on_reload", "on_starting", "post_worker_init"]

globals().update(CONF_FILE.settings())

on_starting = CONF_FILE.on_starting
on_reload = CONF_FILE.on_reload
