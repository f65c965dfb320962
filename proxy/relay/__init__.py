"""The express lane: sessions in calm water relayed by one compiled thread, without the interpreter.

`loop` is that thread's code, `walks` its knowledge of messages, `system` its system calls; `lane`
is how a session gets on and off. Whatever is not an ordinary small message is no business of this
room: the session is handed back to the event loop with its bytes untouched.
"""
