-- The index: everything that is known. Bytes of blobs are files beside it; bytes of manifests are
-- here. Digests are the hash alone (32 bytes is sha256, 64 bytes is sha512). Moments named *_age
-- are milliseconds of accumulated uptime (docs/durability.md), never of a wall clock; moments named
-- *_at are RFC 3339 text for people. Changed only together with a numbered migration.

CREATE TABLE repositories (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- One row a stored blob, whichever repositories may serve it. A doomed blob is on its way out: it
-- is in no repository and is served to nobody; its generation tells a later upload of the same
-- digest from the one that was doomed.
CREATE TABLE blobs (
    id         INTEGER PRIMARY KEY,
    digest     BLOB    NOT NULL UNIQUE,
    size       INTEGER NOT NULL,
    doomed     INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX blobs_doomed ON blobs (id) WHERE doomed = 1;

-- Which repository may serve which blob, and when a client was last told that it need not send it.
CREATE TABLE repository_blobs (
    repository_id INTEGER NOT NULL REFERENCES repositories,
    blob_id       INTEGER NOT NULL REFERENCES blobs,
    seen_age      INTEGER NOT NULL,
    PRIMARY KEY (repository_id, blob_id)
) WITHOUT ROWID;
CREATE INDEX repository_blobs_by_blob ON repository_blobs (blob_id);

CREATE TABLE manifests (
    id            INTEGER PRIMARY KEY,
    repository_id INTEGER NOT NULL REFERENCES repositories,
    digest        BLOB    NOT NULL,
    media_type    TEXT    NOT NULL,
    artifact_type TEXT    NOT NULL,
    annotations   TEXT    NOT NULL,
    subject       BLOB,
    pushed_at     TEXT    NOT NULL,
    body          BLOB    NOT NULL,
    UNIQUE (repository_id, digest)
);
CREATE INDEX manifests_by_subject ON manifests (repository_id, subject, digest)
    WHERE subject IS NOT NULL;

-- Beside the manifests, so that a lease does not rewrite a row that holds a whole body.
CREATE TABLE manifest_leases (
    manifest_id INTEGER PRIMARY KEY REFERENCES manifests ON DELETE CASCADE,
    seen_age    INTEGER NOT NULL
);

-- What a manifest needs, within its repository. kind: 0 a blob (config, layer), 1 a child of an
-- index, 2 a subject, 3 a foreign layer. Of the last three the digest may be of something that is
-- not there (a child of a sparse index, a subject that is pushed later).
CREATE TABLE manifest_references (
    repository_id INTEGER NOT NULL,
    digest        BLOB    NOT NULL,
    kind          INTEGER NOT NULL,
    manifest_id   INTEGER NOT NULL REFERENCES manifests ON DELETE CASCADE,
    PRIMARY KEY (repository_id, digest, kind, manifest_id)
) WITHOUT ROWID;
CREATE INDEX manifest_references_by_manifest ON manifest_references (manifest_id);

CREATE TABLE tags (
    repository_id INTEGER NOT NULL REFERENCES repositories,
    name          TEXT    NOT NULL,
    manifest_id   INTEGER NOT NULL REFERENCES manifests,
    moved_at      TEXT    NOT NULL,
    PRIMARY KEY (repository_id, name)
) WITHOUT ROWID;
CREATE INDEX tags_by_manifest ON tags (manifest_id);

-- Append-only: who changed what, written in the transaction of the change.
-- action: push, move (a tag to another digest), delete.
CREATE TABLE events (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         TEXT NOT NULL,
    action     TEXT NOT NULL,
    repository TEXT NOT NULL,
    tag        TEXT,
    digest     BLOB,
    previous   BLOB,
    actor      TEXT NOT NULL,
    address    TEXT NOT NULL
);
CREATE INDEX events_by_repository ON events (repository, tag, id);

-- Open upload sessions; their bytes are uploads/<uuid>. stored is how many bytes were synced,
-- prefix_hash the hash of exactly those (null when it must be computed from the file).
CREATE TABLE uploads (
    uuid        TEXT    PRIMARY KEY,
    repository  TEXT    NOT NULL,
    algorithm   TEXT    NOT NULL,
    stored      INTEGER NOT NULL,
    prefix_hash BLOB,
    boot_id     TEXT    NOT NULL,
    started_at  TEXT    NOT NULL,
    seen_age    INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX uploads_by_age ON uploads (seen_age);

-- Sessions that became a blob, for clients that did not hear the answer and ask again.
CREATE TABLE finished_uploads (
    uuid         TEXT    PRIMARY KEY,
    repository   TEXT    NOT NULL,
    digest       BLOB    NOT NULL,
    finished_age INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX finished_uploads_by_age ON finished_uploads (finished_age);

-- Accumulated uptime: at boottime_ms of boot boot_id, age_ms had passed in all; this boot was
-- first seen at boot_age_ms. gc_age_ms is when gc last ran.
CREATE TABLE clock (
    only        INTEGER PRIMARY KEY CHECK (only = 1),
    boot_id     TEXT    NOT NULL,
    boottime_ms INTEGER NOT NULL,
    age_ms      INTEGER NOT NULL,
    boot_age_ms INTEGER NOT NULL,
    gc_age_ms   INTEGER NOT NULL DEFAULT 0
);
