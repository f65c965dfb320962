"""What the proxy counts about itself, and how Prometheus reads it.

`names` is the table of every metric; `instruments` are the numbers that the rooms above count up;
`event_loop` watches how late the loop is; `exposition` turns it all into a page when it is asked.
"""
