"""The demonstration: a database of its own, real data, a model, a million scores.

`main` sets the stage (database, data, proxy) and clears it; `customers` is the data; `tour` is an
ordinary client in a process of its own, which shows every statement that it runs; `table` lays out
what comes back. Nothing here is known to the proxy.
"""
