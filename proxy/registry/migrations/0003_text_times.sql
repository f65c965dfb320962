-- Text that is a time, as an argument of PREDICT: '2025-01', '2025-01-31', '2025-01-31 12:00'.
--
-- Written into the client's own query, so every name is in full; and without a backslash, which
-- means what standard_conforming_strings says.  Days count on from the month's first, as in
-- proxy.engine.time_text: there is no text of this form that fails.

CREATE FUNCTION ml.text_seconds(p_text pg_catalog.text) RETURNS pg_catalog.float8
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN m[1] OPERATOR(pg_catalog.<>) '0000' THEN
               pg_catalog.date_part('epoch', pg_catalog.make_date(
                   m[1]::pg_catalog.int4, m[2]::pg_catalog.int4, 1)::pg_catalog.timestamp)
               OPERATOR(pg_catalog.+) ((coalesce(m[3]::pg_catalog.int4, 1)
                   OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog.*) 86400)::pg_catalog.float8
               OPERATOR(pg_catalog.+) ((coalesce(m[4]::pg_catalog.int4, 0)
                   OPERATOR(pg_catalog.*) 3600)
               OPERATOR(pg_catalog.+) (coalesce(m[5]::pg_catalog.int4, 0)
                   OPERATOR(pg_catalog.*) 60)
               OPERATOR(pg_catalog.+) coalesce(m[6]::pg_catalog.int4, 0))::pg_catalog.float8
           END
      FROM (SELECT pg_catalog.regexp_match(p_text,
                '^[ ]*([0-9]{4})-(0[1-9]|1[0-2])(?:-(0[1-9]|[12][0-9]|3[01])'
                '(?:[ T]([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:[.][0-9]+)?)?)?)?[ ]*$')
           ) AS matched (m)
$$;

COMMENT ON FUNCTION ml.text_seconds(text) IS
    'seconds since 1970 of text such as 2025-01; NULL for other text';
