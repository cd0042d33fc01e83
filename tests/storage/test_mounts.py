"""Which file system the data is on: a network's is refused, unless the operator takes the risk."""

from pathlib import Path

import pytest

from registry_wsgi.errors import StorageFault
from registry_wsgi.storage import mounts
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.mounts import filesystem_type, is_read_only, refuse_network
from registry_wsgi.storage.opening import open_data

MOUNTINFO = r"""
21 98 0:19 / /proc rw,nosuid shared:5 - proc proc rw
98 0 254:1 / / rw,noatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
99 98 0:40 / /srv rw,relatime shared:2 - xfs /dev/sdb1 rw
100 99 0:41 / /srv/registry rw,relatime shared:3 master:7 - nfs4 nas:/export rw,vers=4.2
101 99 0:42 / /srv/with\040space rw,relatime - cifs //nas/share rw
102 99 0:43 / /srv/sshfs rw,relatime - fuse.sshfs nas: rw
103 98 0:44 / /mnt/9p rw - 9p host rw
104 98 0:45 /sub /srv-other rw,relatime - btrfs /dev/sdc rw
105 100 0:46 / /srv/registry/local rw - ext4 /dev/sdd rw
""".strip()

TYPES = {
    "/": "ext4",
    "/home/registry": "ext4",
    "/srv": "xfs",
    "/srv/data": "xfs",
    "/srv/registry": "nfs4",
    "/srv/registry/data": "nfs4",
    "/srv/registry-data": "xfs",
    "/srv/registry/local/data": "ext4",
    "/srv/with space/data": "cifs",
    "/srv/sshfs/a/b": "fuse.sshfs",
    "/mnt/9p": "9p",
    "/srv-other/data": "btrfs",
    "/proc/self": "proc",
}


NETWORKS = ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre"]
NETWORKS += ["fuse", "fuse.sshfs", "fuse.s3fs"]


@pytest.mark.parametrize("path", TYPES)
def test_a_path_is_on_the_file_system_of_the_innermost_mount(path: str) -> None:
    """By whole components, with escaped characters in mount points."""
    assert filesystem_type(Path(path), MOUNTINFO) == TYPES[path]


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_file_system_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal names the kind and the setting that takes the risk; with that it is accepted."""
    pretend(monkeypatch, tmp_path, kind)
    with pytest.raises(StorageFault) as caught:
        open_data(tmp_path / "data", FileOps(syncing=False))
    accepted = open_data(tmp_path / "data", FileOps(syncing=False), network_filesystem=True)

    assert f"the data directory is on {kind}" in caught.value.reason
    assert "storage.network_filesystem = true" in caught.value.reason
    assert accepted.store.is_empty()


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk"])
def test_a_local_file_system_is_accepted(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is a disk of this machine is no risk."""
    pretend(monkeypatch, tmp_path, kind)

    refuse_network(tmp_path)


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, kind: str) -> None:
    """Have a directory be on a file system of another kind."""
    table = folder / "mountinfo"
    table.write_text(f"1 0 0:1 / {folder} rw - {kind} source rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", table)


def test_a_file_that_is_missing_is_on_no_read_only_file_system(tmp_path: Path) -> None:
    """What is not there yet may be made; a file that may be written is not read-only either."""
    written = tmp_path / "written"
    written.touch()

    assert not is_read_only(tmp_path / "missing")
    assert not is_read_only(written)
