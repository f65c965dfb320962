"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, both roles (RFC 5802, RFC 7677, RFC 5929).

Owns the messages' grammar, the proofs and PostgreSQL's verifier text. Leaves to the caller: where a
verifier comes from, the SASL messages around these bytes (`protocol.authentication`), the
certificate's hash (`tls`) and the thread: `keys.salted_password`, reached through
`credentials.Password`, alone costs milliseconds.

The proxy's trick (PgBouncer's): a client that proves itself to `ScramServer` shows its ClientKey.
With it `ScramClient` logs in to an upstream whose verifier has the same salt and iterations, and
no password is ever known here. Keys, salts and passwords stay out of every repr.
"""
