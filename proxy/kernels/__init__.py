"""The numba code, and only that: loops over the bytes of the wire that Python is too slow for."""
