"""Helm: charts as artifacts."""

from pathlib import Path

import pytest
from support.programs import Tool
from support.server import RunningServer

CHART = "apiVersion: v2\nname: example\ndescription: A chart\ntype: application\nversion: 1.2.3+build.4\n"


@pytest.fixture
def package(helm: Tool, tmp_path: Path) -> Path:
    """A packaged chart whose version has a ``+``, which is ``_`` in its tag."""
    chart = tmp_path / "example"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(CHART)
    (chart / "values.yaml").write_text("replicas: 1\n")
    (chart / "templates" / "map.yaml").write_text("apiVersion: v1\nkind: ConfigMap\n")
    helm("package", "--destination", tmp_path, chart)
    return tmp_path / "example-1.2.3+build.4.tgz"


def test_a_chart_comes_back(
    helm: Tool, registry: RunningServer, repository: str, package: Path, tmp_path: Path
) -> None:
    """A chart that was pushed is pulled byte for byte."""
    folder = f"oci://{registry.host}/{repository}"
    helm("push", "--plain-http", package, folder)
    out = tmp_path / "out"
    out.mkdir()
    helm(
        "pull", "--plain-http", "--version=1.2.3+build.4", "--destination", out, f"{folder}/example"
    )

    assert (out / package.name).read_bytes() == package.read_bytes()
    assert registry.http.get(f"/v2/{repository}/example/tags/list").json()["tags"] == [
        "1.2.3_build.4"
    ]


def test_a_chart_is_shown_by_its_newest_version(
    helm: Tool, registry: RunningServer, repository: str, package: Path
) -> None:
    """``helm show chart`` without a version finds the chart through the list of tags."""
    folder = f"oci://{registry.host}/{repository}"
    helm("push", "--plain-http", package, folder)

    assert "version: 1.2.3+build.4" in helm("show", "chart", "--plain-http", f"{folder}/example")
