"""pgseer: machine learning in SQL for any PostgreSQL, by a proxy that speaks its wire protocol."""

__version__ = "0.1.0"
