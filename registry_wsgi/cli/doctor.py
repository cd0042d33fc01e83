"""``doctor``: push and pull through what is in front of a registry, and say what breaks there."""

import argparse
import dataclasses
import getpass
import json
import re
import ssl
import sys

from registry_wsgi.cli.common import Command, CommandError
from registry_wsgi.config import Config, ConfigError
from registry_wsgi.doctor.client import Client
from registry_wsgi.doctor.examination import examine
from registry_wsgi.doctor.findings import OK, PROBLEM, CannotCheckError, Finding
from registry_wsgi.doctor.visit import Visit
from registry_wsgi.names import Name

SOUND, PROBLEMS, UNCHECKED = 0, 1, 2

_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", required=True, help="how clients reach it, such as https://registry.example"
    )
    parser.add_argument("--user", default="", help="sign in as this one")
    parser.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input"
    )
    parser.add_argument("--cafile", metavar="FILE", help="trust these authorities (PEM)")
    parser.add_argument(
        "--repository",
        metavar="NAME",
        default="registry-wsgi-doctor",
        help="push to this one, and delete it again (registry-wsgi-doctor)",
    )
    parser.add_argument(
        "--size", metavar="MIB", type=int, default=32, help="of the larger blob in MiB (32)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a finding")


def _run(options: argparse.Namespace, _: Config) -> int:
    problems = 0
    try:
        for finding in examine(_visit(options)):
            problems += finding.level == PROBLEM
            _print(finding, as_json=options.json)
    except CannotCheckError as error:
        _print(error.finding, as_json=options.json)
        return UNCHECKED
    if not options.json:
        print("NOT sound: see above" if problems else "sound")
    return PROBLEMS if problems else SOUND


def _visit(options: argparse.Namespace) -> Visit:
    url = options.url.rstrip("/")
    if not _URL.fullmatch(url):
        raise CommandError("--url must be http://HOST or https://HOST, without a path")
    if not 4 <= options.size <= 1 << 16:  # noqa: PLR2004 - less shows nothing, more is no small test
        raise CommandError("--size must be 4 or more")
    try:
        context = ssl.create_default_context(cafile=options.cafile)
    except OSError as error:
        raise ConfigError(f"--cafile {options.cafile}: {error}") from error
    repository = Name.parse(options.repository)
    return Visit(
        Client(url, context), repository, options.user, _password(options), options.size << 20
    )


def _password(options: argparse.Namespace) -> str:
    if not options.user:
        return ""
    if options.password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return getpass.getpass("Password: ")


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(dataclasses.asdict(finding)), flush=True)
        return
    print(f"{finding.level:<7} {finding.check}: {finding.message}", flush=True)
    if finding.advice and finding.level != OK:
        print(f"        -> {finding.advice}", flush=True)


COMMAND = Command("doctor", "say what is wrong between clients and the registry", _arguments, _run)
