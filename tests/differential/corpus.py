"""Conversations that must go the same way with and without the proxy.

Owns the list of scripts and the tables that they read.  Every script leaves the database as it
found it.
"""

from __future__ import annotations

from tests.differential.messages import DATABASE
from tests.differential.scripts import (
    cancellations,
    copies,
    errors,
    extended_queries,
    functions,
    logins,
    pipelines,
    settings,
    simple_queries,
    violations,
    words_of_ours,
)

__all__ = ["DATABASE", "scripts", "set_up"]

set_up = """
CREATE TABLE points (id int PRIMARY KEY, x float8 NOT NULL CHECK (x < 1000), label text);
INSERT INTO points SELECT i, i * 0.25, 'point ' || i FROM generate_series(1, 100) AS i;
CREATE TABLE many (id int, filler text);
INSERT INTO many SELECT i, repeat('y', 50) FROM generate_series(1, 20000) AS i;
CREATE TABLE "select" ("from" int, "PREDICT" int, model text);
INSERT INTO "select" VALUES (1, 2, 'three');
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS int CHECK (value > 0);
"""

scripts = [
    script
    for module in (
        simple_queries,
        errors,
        settings,
        words_of_ours,
        extended_queries,
        pipelines,
        copies,
        functions,
        cancellations,
        logins,
        violations,
    )
    for script in module.scripts
]
