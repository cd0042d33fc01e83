"""Hypothesis strategies for WSGI environs: requests of any kind, and nearly right ones."""

import io
import json
import string
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from hypothesis import strategies as st
from support.images import CONFIG, INDEX, LAYER, MANIFEST, encode, sha256
from support.pushes import EMPTY, UNKNOWN_DIGEST, artifact, image, index, sha512

NAME = "team/app"
"""A repository that is expected to hold ``BLOB`` and ``EMPTY``, and the tags v1, multi and sbom."""

BLOB = b"a blob"

NO_LENGTHS = ("-5", "+5", "x", "\xb2", "5.0", "5_0", "9" * 30)
"""What not every server refuses as a ``Content-Length``."""

Environ = dict[str, Any]


def environ_of(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes, framing: str
) -> Environ:
    """What a server makes of a request whose target is ``path`` and ``query``, still escaped."""
    environ: Environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "registry.test",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    for name, value in headers.items():
        variable = name.upper().replace("-", "_")
        environ[variable if variable == "CONTENT_TYPE" else f"HTTP_{variable}"] = value
    if framing == "length":
        environ["CONTENT_LENGTH"] = str(len(body))
    elif framing == "short":
        environ["CONTENT_LENGTH"] = str(len(body) + 5)
    elif framing in NO_LENGTHS:
        environ["CONTENT_LENGTH"] = framing
    else:
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    return environ


DIGESTS = st.sampled_from(
    [
        sha256(BLOB),
        sha256(EMPTY),
        sha512(BLOB),
        sha256(b""),
        sha256(encode(image(EMPTY, BLOB))),
        UNKNOWN_DIGEST,
        f"sha512:{'0' * 128}",
        "sha256:short",
        f"sha256:{'A' * 64}",
        f"md5:{'a' * 32}",
        ":",
        "sha256:",
    ]
)
ODD_TEXT = st.one_of(
    st.text(max_size=20).map(lambda text: quote(text.encode("utf-8", "replace"), safe="")),
    st.binary(max_size=20).map(quote),
    st.text(string.printable.strip(), max_size=30).map(lambda text: quote(text, safe="/%:@;,+&=~")),
    st.sampled_from(["..", "%2e%2e", "%00", "%0A", "%0D%0A", "a" * 300, "%", "%zz", "", "%C0%80"]),
)
NAMES = st.one_of(
    st.sampled_from(
        [NAME, "a", "a/b/c", "new", "UPPER", "a//b", "a%2Fb", "blobs/uploads", "x" * 256]
    ),
    ODD_TEXT,
)
REFERENCES = st.one_of(
    DIGESTS, st.sampled_from(["v1", "multi", "sbom", "new", "x" * 129, ".x"]), ODD_TEXT
)
UUIDS = st.one_of(st.uuids().map(str), ODD_TEXT)
PATHS = st.one_of(
    st.builds("/v2/{}/blobs/{}".format, NAMES, DIGESTS | ODD_TEXT),
    st.builds("/v2/{}/blobs/uploads/".format, NAMES),
    st.builds("/v2/{}/blobs/uploads".format, NAMES),
    st.builds("/v2/{}/blobs/uploads/{}".format, NAMES, UUIDS),
    st.builds("/v2/{}/manifests/{}".format, NAMES, REFERENCES),
    st.builds("/v2/{}/tags/list".format, NAMES),
    st.builds("/v2/{}/referrers/{}".format, NAMES, DIGESTS | ODD_TEXT),
    st.sampled_from(["/v2/", "/v2", "/v2/_catalog", "/healthz", "/readyz", "/", "", "*", "//v2/"]),
    st.lists(
        st.sampled_from(
            ["v2", "blobs", "uploads", "manifests", "tags", "list", "referrers", "", "a"]
        ),
        max_size=8,
    ).map(lambda parts: "/" + "/".join(parts)),
    ODD_TEXT.map(lambda text: f"/{text}"),
)
VALUES = st.one_of(
    DIGESTS,
    ODD_TEXT,
    NAMES,
    st.integers(-5, 10**30).map(str),
    st.sampled_from(["v1", "sha256", "sha512", "application/vnd.test%2Bjson", "%2B", "0", "1"]),
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "digest",
                "digest-algorithm",
                "mount",
                "from",
                "n",
                "last",
                "tag",
                "_state",
                "artifactType",
                "ns",
                "x",
            ]
        ),
        VALUES,
    ),
    max_size=4,
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))
HEADER_TEXT = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40
)
NUMBERS = (st.integers(0, 8) | st.integers(0, 10**20)).map(str)
SPANS = st.one_of(
    st.builds("{}-{}".format, NUMBERS, NUMBERS),
    st.builds("bytes={}-{}".format, NUMBERS, NUMBERS | st.just("")),
    st.builds("bytes=-{}".format, NUMBERS),
    st.builds("bytes {}-{}/{}".format, NUMBERS, NUMBERS, NUMBERS | st.just("*")),
    st.sampled_from(["0-5", "0-0", "0-1", "bytes=0-0", "bytes=0-1,2-3", "-", "bytes="]),
    HEADER_TEXT,
)
ENTITY_TAGS = st.one_of(DIGESTS.map('"{}"'.format), DIGESTS, st.just("*"), HEADER_TEXT)
TYPES = st.one_of(
    st.sampled_from([MANIFEST, INDEX, f"{MANIFEST}; charset=utf-8", CONFIG, "text/html", ""]),
    HEADER_TEXT,
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Range": SPANS,
        "Content-Range": SPANS,
        "If-Range": ENTITY_TAGS,
        "If-Match": ENTITY_TAGS,
        "If-None-Match": ENTITY_TAGS,
        "Content-Type": TYPES,
        "Accept": TYPES,
        "Host": st.just("registry.test") | HEADER_TEXT,
        "Forwarded": HEADER_TEXT,
        "X-Forwarded-Host": HEADER_TEXT,
        "X-Forwarded-Proto": HEADER_TEXT,
        "X-Request-Id": HEADER_TEXT,
        "Authorization": HEADER_TEXT,
    },
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | DIGESTS
    | st.sampled_from([MANIFEST, INDEX, LAYER, CONFIG, 2]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["schemaVersion", "mediaType", "config", "layers", "manifests", "subject"]
            )
            | st.sampled_from(["digest", "size", "annotations", "artifactType", "data", "urls"])
            | st.text(max_size=5),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)
GOOD = st.sampled_from([image(EMPTY, BLOB), index(), artifact(), image(b"absent")])
BODIES = st.one_of(
    st.just(b""),
    st.just(BLOB),
    st.binary(max_size=200),
    JSON.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    st.builds(
        lambda good, more: {**good, **more}, GOOD, st.dictionaries(st.text(max_size=5), JSON)
    ).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    GOOD.map(encode),
)
METHODS = st.sampled_from(
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] * 3 + ["OPTIONS", "TRACE", "PROPFIND", "X"]
)
FRAMINGS = st.sampled_from([*["length"] * 5, "chunked", "chunked", "short", *NO_LENGTHS])
WILD = st.builds(environ_of, METHODS, PATHS, QUERIES, HEADERS, BODIES, FRAMINGS)

# Anything at all is refused early, so half of the requests are nearly right.
MINE = st.sampled_from([NAME, NAME, "new"])
READING = st.sampled_from(["GET", "HEAD"])
PAGES = st.lists(
    st.sampled_from(["n=1", "n=0", "last=a", "n=5", "artifactType=a/b"]), max_size=2
).map("&".join)
REFERENCE_HEADERS = st.fixed_dictionaries(
    {"Content-Type": st.sampled_from([MANIFEST, MANIFEST, INDEX]) | TYPES},
    optional={"If-Match": ENTITY_TAGS, "If-None-Match": ENTITY_TAGS},
)
RANGE_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Range": SPANS,
        "If-Range": ENTITY_TAGS,
        "If-Match": ENTITY_TAGS,
        "If-None-Match": ENTITY_TAGS,
    },
)
BLOB_PATHS = st.builds("/v2/{}/blobs/{}".format, MINE, DIGESTS)
TAGS = st.sampled_from(["v1", "multi", "new"])
MANIFEST_PATHS = st.builds("/v2/{}/manifests/{}".format, MINE, TAGS | REFERENCES)
NOTHING = st.just(b"")
NEARLY = st.one_of(
    st.builds(environ_of, READING, BLOB_PATHS, PAGES, RANGE_HEADERS, NOTHING, st.just("length")),
    st.builds(
        environ_of, READING, MANIFEST_PATHS, PAGES, RANGE_HEADERS, NOTHING, st.just("length")
    ),
    st.builds(
        environ_of,
        st.just("PUT"),
        MANIFEST_PATHS,
        st.sampled_from(["", "tag=a&tag=b", "tag=.", "tag=v1"]),
        REFERENCE_HEADERS,
        st.one_of(GOOD.map(encode), BODIES),
        FRAMINGS,
    ),
    st.builds(
        environ_of,
        st.just("POST"),
        MINE.map("/v2/{}/blobs/uploads/".format),
        st.one_of(
            st.just(""),
            DIGESTS.map("digest={}".format),
            st.builds("mount={}&from={}".format, DIGESTS, MINE),
            DIGESTS.map("mount={}".format),
        ),
        HEADERS,
        st.sampled_from([BLOB, EMPTY, b""]),
        FRAMINGS,
    ),
    st.builds(
        environ_of,
        READING,
        st.sampled_from(["/v2/_catalog", f"/v2/{NAME}/tags/list", "/v2/new/tags/list"])
        | DIGESTS.map(f"/v2/{NAME}/referrers/{{}}".format),
        PAGES,
        HEADERS,
        NOTHING,
        st.just("length"),
    ),
    st.builds(
        environ_of,
        st.just("DELETE"),
        st.sampled_from(["/v2/new/manifests/new", "/v2/new/manifests/a"])
        | DIGESTS.map("/v2/new/blobs/{}".format),
        st.just(""),
        HEADERS,
        NOTHING,
        st.just("length"),
    ),
)
REQUESTS = WILD | NEARLY
