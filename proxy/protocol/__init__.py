"""The PostgreSQL wire protocol as pure functions: bytes to messages and back.

It knows no socket, clock, thread or setting; the shell around it reads and writes.
"""
