"""A model as SQL: what PREDICT is where the score must be known to PostgreSQL itself."""
