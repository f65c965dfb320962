"""One client's conversation: bytes between two peers, and the statements that are the proxy's own.

`session` owns the streams and the life of a session, `questions` asks the upstream in the client's
own session, `encodings` knows in which codec its text is. What the proxy's own statements do is the
room `statements` above, which hands `session` a FrameHandler.
"""
