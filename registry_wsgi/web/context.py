"""What handlers work with: the services, and what the settings say about answers."""

from collections.abc import Callable
from dataclasses import dataclass

from registry_wsgi.auth.base import Access
from registry_wsgi.services.blobs import BlobService
from registry_wsgi.services.health import HealthService
from registry_wsgi.services.listings import ListingService
from registry_wsgi.services.manifests import ManifestService
from registry_wsgi.services.uploads import UploadService
from registry_wsgi.web.accelerator import Accelerator
from registry_wsgi.web.location import Locator
from registry_wsgi.web.peers import Peers
from registry_wsgi.web.state import StateSigner


@dataclass(frozen=True, slots=True)
class Context:
    """Made once, by the wiring.

    ``page_size`` is the most items in one answer. ``metrics`` renders them as a content type and a
    text, for peers that ``metrics_peers`` trusts. ``accelerator`` is there if nginx may send blobs.
    """

    blobs: BlobService
    uploads: UploadService
    manifests: ManifestService
    listings: ListingService
    health: HealthService
    access: Access
    locator: Locator
    state: StateSigner
    metrics_peers: Peers
    accelerator: Accelerator | None = None
    metrics: Callable[[], tuple[str, bytes]] | None = None
    page_size: int = 1000
    deleting: bool = True
    read_only: bool = False
