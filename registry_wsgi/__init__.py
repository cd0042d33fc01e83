"""registry_wsgi: a container registry on one machine, with one data directory.

``gunicorn 'registry_wsgi:create_app()'`` serves it; ``python -m registry_wsgi`` is the command.
"""

from registry_wsgi import version
from registry_wsgi.wiring import create_app

__version__ = version.VERSION

__all__ = ["__version__", "create_app"]
