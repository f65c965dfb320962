"""What pgseer costs and saves, always as a ratio to something else measured in the same run.

`figures` is the table of what is measured; `laboratory` builds what it is measured on: a throw-away
PostgreSQL, the proxy, PgBouncer and the tables. `wire`, `pgbench` and `by_hand` are the three kinds
of client; `comparison` owns the arithmetic, `report` the table and RESULTS.md, `machine` the
description. Run by `python -m benchmarks`; nothing here is imported by the proxy.
"""
