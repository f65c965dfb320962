"""One client's conversation: bytes between two peers, and the statements that are the proxy's own.

`session` owns the streams and the life of a session; `questions` asks the upstream in the client's own
session; `simple_query` and `extended_query` serve the two protocols; `scores` writes predictions into
rows; `models` finds what a statement names.
"""
