"""The OCI conformance suite, run as a program against a server of its own.

The suite is ``github.com/opencontainers/distribution-spec/conformance``. Its binary is what the
environment variable ``CONFORMANCE`` names, else ``conformance`` in ``.tools/bin`` or on PATH.
"""

import os
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.accounts import PASSWORD, add_user, opened_data
from support.counts import Counts
from support.programs import require, run
from support.proxied import proxied
from support.server import ServerFactory

PACKAGE = "github.com/opencontainers/distribution-spec/conformance"
OPTIONAL = (
    "OCI_API_BLOBS_DIGEST_HEADER",
    "OCI_API_BLOBS_UPLOAD_CANCEL",
    "OCI_API_MANIFESTS_DIGEST_HEADER",
    "OCI_API_MANIFESTS_TAG_PARAM",
)
FEWEST_PASSED = 900
LINES, WIDTH = 40, 400
SIGN_IN = """
[auth]
backends = ["users"]
[[access]]
repositories = "**"
users = ["admin"]
actions = ["admin"]
"""


def suite() -> str:
    """The path of the suite's binary."""
    return os.environ.get("CONFORMANCE") or require("conformance", PACKAGE)


def run_suite(
    version: str, host: str, results: Path, trust: Mapping[str, str], password: str = ""
) -> str:
    """Run the suite with every optional API on; the first lines of its log,
    each of which names a test that failed and tells why.

    With ``trust``, the environment that names an authority, it speaks TLS. With ``password`` it
    signs in as admin.
    """
    environment = {
        "OCI_VERSION": version,
        "OCI_REGISTRY": host,
        "OCI_TLS": "enabled" if trust else "disabled",
        "OCI_RESULTS_DIR": str(results),
        **dict.fromkeys(OPTIONAL, "true"),
        **trust,
        **({"OCI_USERNAME": "admin", "OCI_PASSWORD": password} if password else {}),
    }
    done = run([suite()], environment=environment, cwd=results.parent, expect=None, seconds=600)
    return "\n".join(line[:WIDTH] for line in done.stderr.splitlines()[:LINES])


def read_counts(report: Path) -> dict[str, int]:
    """The suite's totals, which count its groups of tests as well as its tests.

    Its exit code doesn't do: it is 0 when the suite could not start.
    """
    totals = next(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314 - the suite's own file
    names = ("failures", "errors", "skipped", "disabled")
    failed, errors, skipped, disabled = (int(totals.get(name, "0")) for name in names)
    passed = int(totals.get("tests", "0")) - failed - errors - skipped - disabled
    return {"passed": passed, "failed": failed, "skipped": skipped, "errors": errors}


@pytest.mark.parametrize("version", ["1.1", "dev"])
def test_the_server_conforms(
    version: str, fresh_registry: ServerFactory, tmp_path: Path, counts: Counts
) -> None:
    """Every test of the suite passes and none is skipped, with all optional APIs on."""
    log = run_suite(version, fresh_registry().host, tmp_path / "results", {})
    check(log, tmp_path / "results", counts, f"conformance-{version}")


def test_the_server_conforms_where_clients_sign_in(
    fresh_registry: ServerFactory, tmp_path: Path, counts: Counts
) -> None:
    """The same holds where nobody may anything but an administrator, whose account it is given."""
    with opened_data(tmp_path / "data") as storage:
        add_user(storage.index.accounts, "admin")
    registry = fresh_registry(data=tmp_path / "data", settings=SIGN_IN)
    log = run_suite("dev", registry.host, tmp_path / "results", {}, PASSWORD)
    check(log, tmp_path / "results", counts, "conformance-sign-in")

    registry.http.get("/v2/_catalog", 401)


def test_the_server_conforms_behind_nginx(tmp_path: Path, counts: Counts) -> None:
    """The same holds for gunicorn behind nginx with TLS, as contrib/ has them."""
    with proxied() as running:
        log = run_suite("dev", running.host, tmp_path / "results", running.trust)
    check(log, tmp_path / "results", counts, "conformance-nginx")


def check(log: str, results: Path, counts: Counts, name: str) -> None:
    """Note what was counted; the test fails if anything else than success was."""
    found = read_counts(results / "junit.xml")
    counts(name, **found)

    assert {**found, "passed": 0} == {"passed": 0, "failed": 0, "skipped": 0, "errors": 0}, log
    assert found["passed"] > FEWEST_PASSED
