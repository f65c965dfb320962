"""The second door: HTTP, in the same event loop as the wire.

`http` is the listener and its three operations, `health` tells whether the database can be reached,
`host_guard` keeps web pages of other people away from a door that is meant for this machine.
"""
