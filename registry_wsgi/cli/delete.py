"""``delete``: a repository, a tag or a manifest."""

import argparse

from registry_wsgi.cli.common import Command, opened
from registry_wsgi.config import Config
from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.storage.base import Actor

ACTOR = Actor("operator", "command line")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", metavar="NAME[:TAG|@DIGEST]", help="a repository, a tag of it, or a manifest"
    )


def _run(options: argparse.Namespace, config: Config) -> int:
    name, separator, reference = _split(options.target)
    repository = Name.parse(name)
    with opened(config, writing=True) as storage:
        manifests = storage.index.manifests
        if separator == "@":
            manifests.delete(repository, Digest.parse(reference), ACTOR)
        elif separator == ":":
            manifests.delete_tag(repository, Tag.parse(reference), ACTOR)
        else:
            manifests.delete_repository(repository, ACTOR)
    print(f"deleted {options.target}; gc gives the space back once nothing needs it")
    return 0


def _split(target: str) -> tuple[str, str, str]:
    """The name, what separates it from the reference, and the reference."""
    if "@" in target:
        return target.partition("@")
    return target.partition(":")


COMMAND = Command("delete", "remove a repository, a tag or a manifest", _arguments, _run)
