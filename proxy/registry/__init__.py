"""The models of one database: how they are stored, found and loaded.

    migrations/        schema `ml`, as SQL; rules about privileges are written and enforced there
    schema             brings a database to the newest migration
    queries            text for the client's own session, where every write is done
    model_version      a version as stored, and as planning sees it
    catalog            the versions at one moment, by name
    cache              artefacts, verified and parsed, once per content
    progress           the trainings under way, for everybody to see
    postgres_store     one database's catalogue, kept fresh by NOTIFY

What a model computes is the engine's; who asks, and in which transaction, is the session's.
"""
