"""Training in child processes, so that the event loop never waits for it.

    frames      what passes between the two sides: JSON headers, bytes, one file descriptor
    buffers     a dataset laid out in memory that both sides map
    child       the process that trains, one job after the other
    process     one child as the parent sees it: start, job, kill
    pool        how many there are, and who comes next

No pickle passes in either direction, and what a child computes is the engine's business.
"""
