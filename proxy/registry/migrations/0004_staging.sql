-- What stands where a staged PREDICT finds no score for its inputs.
--
-- Volatile, so that no planner calls it to see what it returns.

CREATE FUNCTION ml.not_scored() RETURNS pg_catalog.float8
LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS $$
BEGIN
    RAISE EXCEPTION 'could not score a row that changed while the statement ran'
        USING ERRCODE = '40001', HINT = 'The statement might succeed if it is run again.';
END
$$;

COMMENT ON FUNCTION ml.not_scored() IS
    'raises that PREDICT met a row that was not there when its rows were scored';
