"""``python -m registry_wsgi``, which is also the console script ``registry-wsgi``."""

import sys

from registry_wsgi.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
