-- What more algorithms need: importances of features, clusterings, the progress of a training.
--
-- Run by proxy.registry.schema, once, in one transaction, with search_path = pg_catalog, pg_temp.
-- The rules of 0001 hold for every object here too.

ALTER TABLE ml.model_versions
    ADD COLUMN importances jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(importances) = 'array'),
    ADD COLUMN inertia     float8 GENERATED ALWAYS AS ((metrics ->> 'inertia')::float8) STORED,
    ADD COLUMN silhouette  float8 GENERATED ALWAYS AS ((metrics ->> 'silhouette')::float8) STORED;

-- New columns come last: a view of the user's may stand on this one.
CREATE OR REPLACE VIEW ml.ml_models AS
SELECT v.model_name,
       v.version,
       v.algorithm,
       v.task,
       v.target,
       v.parameters,
       v.features,
       v.metrics,
       v.accuracy,
       v.f1,
       v.auc,
       v.log_loss,
       v.r2,
       v.rmse,
       v.mae,
       v.training_rows,
       v.duration_s,
       v.created_at,
       m.owner,
       v.version = coalesce(m.pinned_version, max(v.version) OVER (PARTITION BY v.model_name))
           AS is_default,
       v.artefact_size_bytes,
       v.artefact_sha256,
       v.status,
       v.query,
       v.inertia,
       v.silhouette,
       v.importances
FROM ml.model_versions AS v
JOIN ml.models AS m USING (model_name);

CREATE OR REPLACE FUNCTION ml.store_model(
    p_model         jsonb,
    p_or_replace    boolean,
    p_if_not_exists boolean,
    p_artefact      bytea
) RETURNS numeric
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_name    text := p_model ->> 'model_name';
    v_caller  text := ml.caller();
    v_owner   text;
    v_exists  boolean;
    v_version numeric(10, 1);
    v_type    pg_type;
    v_type_sql text;
BEGIN
    IF octet_length(p_artefact) IS DISTINCT FROM (p_model ->> 'artefact_size_bytes')::bigint
       OR encode(sha256(p_artefact), 'hex') IS DISTINCT FROM p_model ->> 'artefact_sha256' THEN
        RAISE EXCEPTION 'artefact of model "%" was damaged on its way', v_name
            USING ERRCODE = 'data_corrupted',
                  DETAIL = 'Its length or its sha256 is not the one announced.';
    END IF;

    -- The row of ml.models is the lock of its name: the second creator waits here for the first.
    -- It may also vanish here (a DROP that commits in between), hence the loop.
    LOOP
        INSERT INTO ml.models (model_name, owner) VALUES (v_name, v_caller)
            ON CONFLICT (model_name) DO NOTHING;
        v_exists := NOT FOUND;
        SELECT owner INTO v_owner FROM ml.models WHERE model_name = v_name FOR UPDATE;
        EXIT WHEN FOUND;
    END LOOP;

    IF v_exists AND p_if_not_exists THEN
        RAISE NOTICE 'model "%" already exists, skipping', v_name
            USING ERRCODE = 'duplicate_object';
        RETURN NULL;
    END IF;
    PERFORM ml.check_owner(v_name, v_owner);

    SELECT coalesce(max(version), 0) + 1 INTO v_version
      FROM ml.model_versions WHERE model_name = v_name;
    IF p_or_replace THEN
        DELETE FROM ml.model_versions WHERE model_name = v_name;
        UPDATE ml.models SET pinned_version = NULL
         WHERE model_name = v_name AND pinned_version IS NOT NULL;
    END IF;

    -- Other roles' statements will hold the type's name, so the server writes it, not the caller.
    -- The type under a domain: what a domain checks would run as whoever asks for a prediction.
    SELECT * INTO v_type FROM pg_type WHERE oid = (p_model ->> 'target_type_oid')::oid;
    WHILE v_type.typtype = 'd' LOOP
        SELECT * INTO v_type FROM pg_type WHERE oid = v_type.typbasetype;
    END LOOP;
    v_type_sql := v_type.typnamespace::regnamespace || '.' || quote_ident(v_type.typname);
    IF p_model ->> 'target_type_oid' IS NOT NULL
       AND NOT coalesce(v_type.typtype IN ('b', 'e') AND v_type.typcategory <> 'A', false) THEN
        RAISE EXCEPTION 'target of model "%" has a type that cannot be predicted', v_name
            USING ERRCODE = 'datatype_mismatch';
    END IF;

    INSERT INTO ml.model_versions (
        model_name, version, algorithm, task, target, target_type, target_type_sql, predict_kind,
        classes, parameters, features, terms, importances, metrics, query, training_rows,
        holdout_rows, duration_s, random_state, created_by, format_version, artefact,
        artefact_sha256, artefact_size_bytes)
    SELECT v_name, v_version, r.algorithm, r.task, r.target, format_type(v_type.oid, NULL),
           v_type_sql, r.predict_kind, r.classes, r.parameters, r.features, r.terms,
           coalesce(r.importances, '[]'), r.metrics, r.query, r.training_rows, r.holdout_rows,
           r.duration_s, r.random_state, v_caller, r.format_version, p_artefact,
           r.artefact_sha256, r.artefact_size_bytes
      FROM jsonb_to_record(p_model) AS r (
           algorithm text, task text, target text, predict_kind text, classes jsonb,
           parameters jsonb, features jsonb, terms jsonb, importances jsonb, metrics jsonb,
           query text, training_rows bigint, holdout_rows bigint, duration_s float8,
           random_state bigint, format_version integer, artefact_sha256 text,
           artefact_size_bytes bigint);
    RETURN v_version;
END
$$;

-- A metric as lines of DESCRIBE MODEL: a matrix line by line, each with the class that it is of.
CREATE FUNCTION ml.metric_lines(p_name text, p_value jsonb, p_classes jsonb)
RETURNS TABLE (ordinal bigint, name text, value text, detail text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 1::bigint, p_name, p_value #>> '{}', NULL
     WHERE jsonb_typeof(p_value) NOT IN ('array', 'null')
    UNION ALL
    SELECT 1, p_name, coalesce((SELECT string_agg(e, ', ' ORDER BY o)
                                  FROM jsonb_array_elements_text(p_value)
                                       WITH ORDINALITY AS t (e, o)), ''), NULL
     WHERE jsonb_typeof(p_value) = 'array' AND jsonb_typeof(p_value -> 0) IS DISTINCT FROM 'array'
    UNION ALL
    SELECT line.o, p_name,
           (SELECT string_agg(e, ', ' ORDER BY o)
              FROM jsonb_array_elements_text(line.e) WITH ORDINALITY AS t (e, o)),
           'rows of class ' || (p_classes ->> (line.o - 1)::int) || CASE line.o WHEN 1 THEN
               ', by predicted class' ELSE '' END
      FROM jsonb_array_elements(CASE jsonb_typeof(p_value -> 0) WHEN 'array' THEN p_value END)
           WITH ORDINALITY AS line (e, o)
     WHERE jsonb_typeof(line.e) = 'array'
$$;

CREATE OR REPLACE FUNCTION ml.describe_model(p_name text, p_version numeric)
RETURNS TABLE (section text, name text, value text, detail text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_default numeric := ml.find_version(p_name, NULL);
    v_version numeric := ml.find_version(p_name, p_version);
BEGIN
    RETURN QUERY WITH described AS (
        SELECT v.version, v.algorithm, v.task, v.target, v.target_type, v.classes, v.parameters,
               v.features, v.terms, v.importances, v.metrics, v.query, v.training_rows,
               v.holdout_rows, v.duration_s, v.random_state, v.created_at, v.artefact_size_bytes,
               v.artefact_sha256, m.owner
          FROM ml.model_versions AS v JOIN ml.models AS m USING (model_name)
         WHERE model_name = p_name AND v.version = v_version
    ), line (part, ordinal, suborder, section, name, value, detail) AS (
        SELECT 1, fact.ordinal::bigint, 0::bigint, 'model', fact.name, fact.value, fact.detail
          FROM described AS d, LATERAL (VALUES
               (1, 'name', p_name, NULL),
               (2, 'version', d.version::text,
                   CASE d.version WHEN v_default THEN 'default' END),
               (3, 'algorithm', d.algorithm, NULL),
               (4, 'task', d.task, NULL),
               (5, 'target', d.target, d.target_type),
               (6, CASE d.task WHEN 'clustering' THEN 'clusters' ELSE 'classes' END,
                   (SELECT string_agg(c, ', ' ORDER BY o)
                      FROM jsonb_array_elements_text(d.classes) WITH ORDINALITY AS t (c, o)),
                   NULL),
               (7, 'training rows', d.training_rows::text, NULL),
               (8, 'held-out rows', d.holdout_rows::text,
                   CASE WHEN d.holdout_rows > 0 THEN
                       'for the metrics; the model was then fitted on all training rows' END),
               (9, 'training time', round(d.duration_s::numeric, 3) || ' s', NULL),
               (10, 'random state', d.random_state::text, NULL),
               (11, 'created at', d.created_at::text, NULL),
               (12, 'owner', d.owner, NULL),
               (13, 'size', d.artefact_size_bytes || ' bytes', 'sha256 ' || d.artefact_sha256),
               (14, 'query', d.query, NULL)
               ) AS fact (ordinal, name, value, detail)
         WHERE fact.value IS NOT NULL
        UNION ALL
        SELECT 2, row_number() OVER (ORDER BY p.key), 0, 'parameter', p.key, p.value, NULL
          FROM described AS d, jsonb_each_text(d.parameters) AS p
        UNION ALL
        -- A clustering is measured on the rows that it learned from: nobody said what is right.
        -- A forest knows of each row what the trees say that have not learned from it.
        SELECT 3, dense_rank() OVER (ORDER BY m.key), l.ordinal,
               CASE WHEN m.key = 'oob_score' THEN 'out-of-bag metric'
                    WHEN d.task = 'clustering' THEN 'metric'
                    ELSE 'held-out metric' END,
               l.name, l.value, l.detail
          FROM described AS d, jsonb_each(d.metrics) AS m,
               LATERAL ml.metric_lines(m.key, m.value, d.classes) AS l
        UNION ALL
        SELECT 4, f.ordinal, 0, 'feature', f.item ->> 'name', f.item ->> 'sql_type',
               concat_ws(', ',
                   f.item ->> 'kind',
                   jsonb_array_length(nullif(nullif(f.item -> 'categories', 'null'), '[]'))
                       || ' categories',
                   nullif(f.item ->> 'width', '1') || ' elements')
          FROM described AS d, jsonb_array_elements(d.features) WITH ORDINALITY AS f (item, ordinal)
        UNION ALL
        SELECT 5, row_number() OVER (ORDER BY i.value DESC, i.ordinal), 0, 'importance',
               i.item ->> 'feature', i.value::text, concat_ws(', ',
                   'impurity ' || round((i.item ->> 'impurity')::numeric, 3),
                   'permutation ' || round((i.item ->> 'permutation')::numeric, 3))
          FROM (SELECT e.item, e.ordinal,
                       coalesce(e.item ->> 'permutation', e.item ->> 'impurity')::float8 AS value
                  FROM described AS d,
                       jsonb_array_elements(d.importances) WITH ORDINALITY AS e (item, ordinal)
               ) AS i
         WHERE i.value IS NOT NULL
        UNION ALL
        SELECT 6, t.ordinal, 0, 'coefficient',
               CASE WHEN t.item ->> 'feature' IS NULL THEN t.item ->> 'term'
                    WHEN t.item ->> 'term' = 'value' THEN t.item ->> 'feature'
                    WHEN t.item ->> 'kind' = 'array'
                    THEN (t.item ->> 'feature') || (t.item ->> 'term')
                    WHEN t.item ->> 'kind' = 'category'
                         AND t.item ->> 'term' NOT IN ('missing', 'infrequent')
                    THEN (t.item ->> 'feature') || ' = ' || quote_literal(t.item ->> 'term')
                    ELSE (t.item ->> 'feature') || ' is ' || (t.item ->> 'term')
               END,
               t.item ->> 'coefficient', nullif(concat_ws(', ',
                   'class ' || (t.item ->> 'class_label'),
                   CASE WHEN t.item ->> 'term' NOT LIKE '%missing'
                        THEN 'NULL is taken as ' || (t.item ->> 'imputed') END), '')
          FROM described AS d, jsonb_array_elements(d.terms) WITH ORDINALITY AS t (item, ordinal)
    )
    SELECT section, name, value, detail FROM line ORDER BY part, ordinal, suborder;
END
$$;

-- The trainings under way, written by the proxies outside the clients' transactions.  UNLOGGED: a
-- crash ends every training.  What is left of a proxy that was killed is hidden by the view.
CREATE UNLOGGED TABLE ml.training_progress (
    pid              integer PRIMARY KEY,
    backend_start    timestamptz,
    model            text NOT NULL,
    phase            text NOT NULL,
    rows_read        bigint NOT NULL,
    rows_total       bigint,
    iterations_done  bigint NOT NULL,
    iterations_total bigint NOT NULL,
    loss             float8,
    started_at       timestamptz NOT NULL
);

-- Who sees what of a session in pg_stat_activity sees its training.  A backend's start is known
-- here unless the service role may not see it; the process id is known to everybody.
CREATE VIEW ml.ml_training_progress WITH (security_barrier) AS
SELECT p.pid,
       p.model,
       p.phase,
       p.rows_read,
       p.rows_total,
       p.iterations_done,
       p.iterations_total,
       p.loss,
       p.started_at
FROM ml.training_progress AS p
JOIN pg_stat_activity AS a USING (pid)
WHERE (pg_has_role(a.usesysid, 'USAGE') OR pg_has_role('pg_read_all_stats', 'USAGE'))
  AND coalesce(a.backend_start = p.backend_start, true);

REVOKE ALL ON TABLE ml.training_progress, ml.ml_training_progress FROM PUBLIC;
REVOKE ALL ON FUNCTION ml.metric_lines(text, jsonb, jsonb) FROM PUBLIC;
GRANT SELECT ON ml.ml_training_progress TO PUBLIC;

COMMENT ON COLUMN ml.model_versions.task IS 'regression, binary, multiclass or clustering';
COMMENT ON COLUMN ml.model_versions.target IS 'name of the column that was learned; NULL for a clustering';
COMMENT ON COLUMN ml.model_versions.classes IS 'class labels as SQL text, in the order of the model; numbers of clusters';
COMMENT ON COLUMN ml.model_versions.metrics IS 'quality on held-out rows, never on the training rows; of a clustering on these';
COMMENT ON COLUMN ml.model_versions.importances IS 'how much each feature matters: feature, impurity, permutation';
COMMENT ON COLUMN ml.model_versions.inertia IS 'of a clustering, sum of the squared distances to the centres';
COMMENT ON COLUMN ml.model_versions.silhouette IS 'of a clustering, mean silhouette coefficient, -1 to 1';
COMMENT ON TABLE ml.training_progress IS 'pgseer: the trainings under way; read ml.ml_training_progress';
COMMENT ON COLUMN ml.training_progress.pid IS 'process id of the session''s backend';
COMMENT ON COLUMN ml.training_progress.backend_start IS 'tells that backend from a later one with its process id; NULL: unknown';
COMMENT ON COLUMN ml.training_progress.model IS 'name given in CREATE MODEL';
COMMENT ON COLUMN ml.training_progress.phase IS 'reading, waiting (for a training process), then the engine''s';
COMMENT ON COLUMN ml.training_progress.rows_read IS 'rows of the training query that have arrived';
COMMENT ON COLUMN ml.training_progress.rows_total IS 'how many there are; NULL until they are all read';
COMMENT ON COLUMN ml.training_progress.iterations_done IS 'trees, epochs or iterations of this phase';
COMMENT ON COLUMN ml.training_progress.iterations_total IS 'the most there can be; 0 where a phase has none';
COMMENT ON COLUMN ml.training_progress.loss IS 'per row; NULL where there is none';
COMMENT ON COLUMN ml.training_progress.started_at IS 'when the rows were asked for';
COMMENT ON VIEW ml.ml_training_progress IS 'pgseer: the trainings under way, of sessions that the reader may see';
COMMENT ON FUNCTION ml.metric_lines(text, jsonb, jsonb) IS 'pgseer: a metric as lines of DESCRIBE MODEL';
