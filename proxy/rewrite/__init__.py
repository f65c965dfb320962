"""SQL in, a Plan out; rows in, scored rows out.

Owns the ML dialect: its lexer, its statements, where PREDICT may stand, and the plan that says both
how the client's text goes up and how the rows come back. Pure: no socket, clock, thread or log.
Leaves to `session` what to do with a plan, to `registry` what a model is.
"""
