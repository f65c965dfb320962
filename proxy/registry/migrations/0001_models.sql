-- The registry: models, their versions, and the functions through which a client's own session
-- reads and writes them.
--
-- Run by proxy.registry.schema, once, in one transaction, with search_path = pg_catalog, pg_temp.
-- Rules that every object here keeps:
--   * No privilege on a table for anybody: the view and the functions are the only doors.
--   * A SECURITY DEFINER function fixes search_path = pg_catalog, pg_temp, so that neither an
--     operator nor a temporary table of the caller can stand in for what is meant.
--   * Nothing refers to an OID that a dump would not carry: a role is stored by its name.

CREATE SCHEMA IF NOT EXISTS ml;

CREATE TABLE ml.schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE ml.models (
    model_name     text COLLATE "C" PRIMARY KEY
                   CHECK (octet_length(model_name) BETWEEN 1 AND 63),
    owner          text NOT NULL,
    pinned_version numeric(10, 1),
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE ml.model_versions (
    model_name          text COLLATE "C" NOT NULL
                        REFERENCES ml.models ON UPDATE CASCADE ON DELETE CASCADE,
    version             numeric(10, 1) NOT NULL CHECK (version > 0),
    algorithm           text NOT NULL,
    task                text NOT NULL,
    target              text,
    target_type         text,
    target_type_sql     text,
    predict_kind        text NOT NULL CHECK (predict_kind IN ('value', 'probability', 'label')),
    classes             jsonb NOT NULL CHECK (jsonb_typeof(classes) = 'array'),
    parameters          jsonb NOT NULL CHECK (jsonb_typeof(parameters) = 'object'),
    features            jsonb NOT NULL CHECK (jsonb_typeof(features) = 'array'),
    terms               jsonb NOT NULL CHECK (jsonb_typeof(terms) = 'array'),
    metrics             jsonb NOT NULL CHECK (jsonb_typeof(metrics) = 'object'),
    -- Computed when a row is written: a metric that is no number fails its writer, never a reader.
    accuracy            float8 GENERATED ALWAYS AS ((metrics ->> 'accuracy')::float8) STORED,
    f1                  float8 GENERATED ALWAYS AS ((metrics ->> 'f1')::float8) STORED,
    auc                 float8 GENERATED ALWAYS AS ((metrics ->> 'auc')::float8) STORED,
    log_loss            float8 GENERATED ALWAYS AS ((metrics ->> 'log_loss')::float8) STORED,
    r2                  float8 GENERATED ALWAYS AS ((metrics ->> 'r2')::float8) STORED,
    rmse                float8 GENERATED ALWAYS AS ((metrics ->> 'rmse')::float8) STORED,
    mae                 float8 GENERATED ALWAYS AS ((metrics ->> 'mae')::float8) STORED,
    query               text NOT NULL,
    training_rows       bigint NOT NULL,
    holdout_rows        bigint NOT NULL,
    duration_s          float8 NOT NULL,
    random_state        bigint,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by          text NOT NULL,
    status              text NOT NULL DEFAULT 'ready',
    format_version      integer NOT NULL,
    artefact            bytea NOT NULL,
    artefact_sha256     text NOT NULL CHECK (artefact_sha256 ~ '^[0-9a-f]{64}$'),
    artefact_size_bytes bigint NOT NULL,
    PRIMARY KEY (model_name, version)
);

-- Weights do not compress; EXTERNAL spares the attempt and makes reading them a plain copy.
ALTER TABLE ml.model_versions ALTER COLUMN artefact SET STORAGE EXTERNAL;

CREATE VIEW ml.ml_models AS
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
       v.query
FROM ml.model_versions AS v
JOIN ml.models AS m USING (model_name);

-- Every proxy listens; whoever changes a model, by whatever road, is heard at commit.
CREATE FUNCTION ml.notify_models() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('pgseer_models', CASE TG_OP WHEN 'DELETE' THEN OLD.model_name
                                                  ELSE NEW.model_name END);
    RETURN NULL;
END
$$;

CREATE TRIGGER notify_models AFTER INSERT OR UPDATE OR DELETE ON ml.models
FOR EACH ROW EXECUTE FUNCTION ml.notify_models();

CREATE TRIGGER notify_models AFTER INSERT OR UPDATE OR DELETE ON ml.model_versions
FOR EACH ROW EXECUTE FUNCTION ml.notify_models();

-- Inside SECURITY DEFINER current_user is the definer, so the caller is told by SET ROLE or the
-- login.  Where PostgreSQL runs somebody else's expression under a superuser's command (REINDEX,
-- ANALYZE, a materialised view), those two still name the superuser; such a place is a
-- "security-restricted operation", in which UNLISTEN is refused.  It does nothing elsewhere.
CREATE FUNCTION ml.caller() RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UNLISTEN pgseer_caller;
    RETURN CASE current_setting('role') WHEN 'none' THEN session_user::text
                                        ELSE current_setting('role') END;
END
$$;

CREATE FUNCTION ml.check_owner(p_name text, p_owner text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_caller oid := to_regrole(quote_ident(ml.caller()));
    -- The owner may be gone since, or not have come along with a dump.
    v_owner  oid := to_regrole(quote_ident(p_owner));
BEGIN
    IF NOT coalesce(pg_has_role(v_caller, v_owner, 'USAGE'),
                    (SELECT rolsuper FROM pg_roles WHERE oid = v_caller)) THEN
        RAISE EXCEPTION 'must be owner of model %', p_name
            USING ERRCODE = 'insufficient_privilege';
    END IF;
END
$$;

CREATE FUNCTION ml.find_version(p_name text, p_version numeric) RETURNS numeric
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_pinned  numeric;
    v_known   numeric[];
BEGIN
    SELECT m.pinned_version, array_agg(v.version ORDER BY v.version)
      INTO v_pinned, v_known
      FROM ml.models AS m JOIN ml.model_versions AS v USING (model_name)
     WHERE model_name = p_name
     GROUP BY m.model_name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'model "%" does not exist', p_name
            USING ERRCODE = 'undefined_object';
    END IF;
    IF p_version IS NULL THEN
        RETURN coalesce(v_pinned, v_known[cardinality(v_known)]);
    END IF;
    IF p_version <> ALL (v_known) THEN
        RAISE EXCEPTION 'version % of model "%" does not exist', p_version, p_name
            USING ERRCODE = 'undefined_object',
                  HINT = format('Known versions: %s.', array_to_string(v_known, ', '));
    END IF;
    RETURN p_version;
END
$$;

CREATE FUNCTION ml.model_exists(p_name text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM ml.models WHERE model_name = p_name)
$$;

CREATE FUNCTION ml.check_create_model(p_name text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_owner text;
BEGIN
    IF current_setting('transaction_read_only')::boolean THEN
        RAISE EXCEPTION 'cannot execute CREATE MODEL in a read-only transaction'
            USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    IF octet_length(p_name) NOT BETWEEN 1 AND 63 THEN
        RAISE EXCEPTION 'model name "%" is not between 1 and 63 bytes long', p_name
            USING ERRCODE = 'invalid_name';
    END IF;
    SELECT owner INTO v_owner FROM ml.models WHERE model_name = p_name;
    IF FOUND THEN
        PERFORM ml.check_owner(p_name, v_owner);
    END IF;
END
$$;

CREATE FUNCTION ml.store_model(
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
        classes, parameters, features, terms, metrics, query, training_rows, holdout_rows,
        duration_s, random_state, created_by, format_version, artefact, artefact_sha256,
        artefact_size_bytes)
    SELECT v_name, v_version, r.algorithm, r.task, r.target, format_type(v_type.oid, NULL),
           v_type_sql, r.predict_kind, r.classes, r.parameters, r.features, r.terms, r.metrics,
           r.query, r.training_rows, r.holdout_rows, r.duration_s, r.random_state, v_caller,
           r.format_version, p_artefact, r.artefact_sha256, r.artefact_size_bytes
      FROM jsonb_to_record(p_model) AS r (
           algorithm text, task text, target text, predict_kind text, classes jsonb,
           parameters jsonb, features jsonb, terms jsonb, metrics jsonb, query text,
           training_rows bigint, holdout_rows bigint, duration_s float8, random_state bigint,
           format_version integer, artefact_sha256 text, artefact_size_bytes bigint);
    RETURN v_version;
END
$$;

CREATE PROCEDURE ml.drop_model(p_name text, p_version numeric, p_if_exists boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_owner text;
BEGIN
    SELECT owner INTO v_owner FROM ml.models WHERE model_name = p_name FOR UPDATE;
    IF p_if_exists AND NOT FOUND THEN
        RAISE NOTICE 'model "%" does not exist, skipping', p_name;
        RETURN;
    END IF;
    IF p_if_exists AND p_version IS NOT NULL AND NOT EXISTS (
        SELECT FROM ml.model_versions WHERE model_name = p_name AND version = p_version) THEN
        RAISE NOTICE 'version % of model "%" does not exist, skipping', p_version, p_name;
        RETURN;
    END IF;
    PERFORM ml.find_version(p_name, p_version);
    PERFORM ml.check_owner(p_name, v_owner);

    DELETE FROM ml.model_versions
     WHERE model_name = p_name AND (p_version IS NULL OR version = p_version);
    UPDATE ml.models SET pinned_version = NULL
     WHERE model_name = p_name AND pinned_version = p_version;
    DELETE FROM ml.models AS m
     WHERE model_name = p_name
       AND NOT EXISTS (SELECT FROM ml.model_versions AS v WHERE v.model_name = m.model_name);
END
$$;

-- An array feature on its way to a model: as many elements as the model was trained on.  An SQL
-- function without SET, so that PostgreSQL writes it into the query that calls it; hence the names
-- in full.
CREATE FUNCTION ml.wrong_length(p_length integer, p_width integer) RETURNS float8[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'array has % elements, but the model was trained on %', p_length, p_width
        USING ERRCODE = 'array_subscript_error';
END
$$;

CREATE FUNCTION ml.vector(p_values pg_catalog.float8[], p_width pg_catalog.int4)
RETURNS pg_catalog.float8[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_values IS NULL
                  OR (pg_catalog.cardinality(p_values) OPERATOR(pg_catalog.=) p_width
                      AND pg_catalog.array_ndims(p_values) OPERATOR(pg_catalog.=) 1)
                THEN p_values
                ELSE ml.wrong_length(pg_catalog.cardinality(p_values), p_width) END
$$;

-- What a proxy must know of every version to plan a statement.  bytea in UTF-8: the answer does not
-- depend on the client_encoding of the session that asks.
CREATE FUNCTION ml.model_catalog() RETURNS SETOF bytea
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT convert_to(jsonb_build_object(
               'model_name', v.model_name,
               'version', v.version::text,
               'is_default', v.version = coalesce(
                   m.pinned_version, max(v.version) OVER (PARTITION BY v.model_name)),
               'owner', m.owner,
               'algorithm', v.algorithm,
               'task', v.task,
               'target', v.target,
               'target_type', v.target_type,
               'target_type_sql', v.target_type_sql,
               'predict_kind', v.predict_kind,
               'classes', v.classes,
               'features', v.features,
               'format_version', v.format_version,
               'artefact_sha256', v.artefact_sha256,
               'artefact_size_bytes', v.artefact_size_bytes)::text, 'UTF8')
      FROM ml.model_versions AS v JOIN ml.models AS m USING (model_name)
     ORDER BY v.model_name, v.version
$$;

CREATE FUNCTION ml.model_artefact(p_name text, p_version numeric) RETURNS bytea
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_version numeric := ml.find_version(p_name, p_version);
BEGIN
    RETURN (SELECT artefact FROM ml.model_versions
             WHERE model_name = p_name AND version = v_version);
END
$$;

CREATE FUNCTION ml.show_model(p_name text) RETURNS SETOF ml.ml_models
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM ml.find_version(p_name, NULL);
    RETURN QUERY SELECT * FROM ml.ml_models WHERE model_name = p_name;
END
$$;

CREATE FUNCTION ml.describe_model(p_name text, p_version numeric)
RETURNS TABLE (section text, name text, value text, detail text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_default numeric := ml.find_version(p_name, NULL);
    v_version numeric := ml.find_version(p_name, p_version);
BEGIN
    RETURN QUERY WITH described AS (
        SELECT v.version, v.algorithm, v.task, v.target, v.target_type, v.classes, v.parameters,
               v.features, v.terms, v.metrics, v.query, v.training_rows, v.holdout_rows,
               v.duration_s, v.random_state, v.created_at, v.artefact_size_bytes, v.artefact_sha256, m.owner
          FROM ml.model_versions AS v JOIN ml.models AS m USING (model_name)
         WHERE model_name = p_name AND v.version = v_version
    ), line (part, ordinal, section, name, value, detail) AS (
        SELECT 1, fact.ordinal, 'model', fact.name, fact.value, fact.detail
          FROM described AS d, LATERAL (VALUES
               (1, 'name', p_name, NULL),
               (2, 'version', d.version::text,
                   CASE d.version WHEN v_default THEN 'default' END),
               (3, 'algorithm', d.algorithm, NULL),
               (4, 'task', d.task, NULL),
               (5, 'target', d.target, d.target_type),
               (6, 'classes', (SELECT string_agg(c, ', ' ORDER BY o)
                                 FROM jsonb_array_elements_text(d.classes)
                                      WITH ORDINALITY AS t (c, o)), NULL),
               (7, 'training rows', d.training_rows::text, NULL),
               (8, 'held-out rows', d.holdout_rows::text,
                   'for the metrics; the model was then fitted on all training rows'),
               (9, 'training time', round(d.duration_s::numeric, 3) || ' s', NULL),
               (10, 'random state', d.random_state::text, NULL),
               (11, 'created at', d.created_at::text, NULL),
               (12, 'owner', d.owner, NULL),
               (13, 'size', d.artefact_size_bytes || ' bytes', 'sha256 ' || d.artefact_sha256),
               (14, 'query', d.query, NULL)
               ) AS fact (ordinal, name, value, detail)
         WHERE fact.value IS NOT NULL
        UNION ALL
        SELECT 2, row_number() OVER (ORDER BY p.key), 'parameter', p.key, p.value, NULL
          FROM described AS d, jsonb_each_text(d.parameters) AS p
        UNION ALL
        SELECT 3, row_number() OVER (ORDER BY m.key), 'held-out metric', m.key, m.value, NULL
          FROM described AS d, jsonb_each_text(d.metrics) AS m
         WHERE m.value IS NOT NULL
        UNION ALL
        SELECT 4, f.ordinal, 'feature', f.item ->> 'name', f.item ->> 'sql_type', concat_ws(', ',
                   f.item ->> 'kind',
                   jsonb_array_length(nullif(nullif(f.item -> 'categories', 'null'), '[]'))
                       || ' categories',
                   nullif(f.item ->> 'width', '1') || ' elements')
          FROM described AS d, jsonb_array_elements(d.features) WITH ORDINALITY AS f (item, ordinal)
        UNION ALL
        SELECT 5, t.ordinal, 'coefficient',
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
    SELECT section, name, value, detail FROM line ORDER BY part, ordinal;
END
$$;

-- Who may do what.  CREATE MODEL is for everybody until REVOKE EXECUTE ON FUNCTION ml.store_model.
REVOKE ALL ON SCHEMA ml FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA ml FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA ml FROM PUBLIC;
GRANT USAGE ON SCHEMA ml TO PUBLIC;
GRANT SELECT ON ml.ml_models TO PUBLIC;
GRANT EXECUTE ON FUNCTION
    ml.check_create_model(text),
    ml.describe_model(text, numeric),
    ml.model_artefact(text, numeric),
    ml.model_catalog(),
    ml.model_exists(text),
    ml.show_model(text),
    ml.store_model(jsonb, boolean, boolean, bytea),
    ml.vector(float8[], integer),
    ml.wrong_length(integer, integer)
    TO PUBLIC;
GRANT EXECUTE ON PROCEDURE ml.drop_model(text, numeric, boolean) TO PUBLIC;

COMMENT ON SCHEMA ml IS 'pgseer: models trained by CREATE MODEL';
COMMENT ON TABLE ml.schema_migrations IS 'pgseer: which migrations of this schema have run';
COMMENT ON COLUMN ml.schema_migrations.version IS 'number of the migration';
COMMENT ON COLUMN ml.schema_migrations.name IS 'its file name';
COMMENT ON COLUMN ml.schema_migrations.applied_at IS 'when it ran';
COMMENT ON TABLE ml.models IS 'pgseer: one row per model name; its row lock orders concurrent changes';
COMMENT ON COLUMN ml.models.model_name IS 'name given in CREATE MODEL';
COMMENT ON COLUMN ml.models.owner IS 'name of the role that may replace and drop it';
COMMENT ON COLUMN ml.models.pinned_version IS 'default version; NULL means the newest';
COMMENT ON COLUMN ml.models.created_at IS 'when its first version was stored';
COMMENT ON TABLE ml.model_versions IS 'pgseer: trained models, one row per version; read ml.ml_models';
COMMENT ON COLUMN ml.model_versions.model_name IS 'name given in CREATE MODEL';
COMMENT ON COLUMN ml.model_versions.version IS '1.0, 2.0, ...';
COMMENT ON COLUMN ml.model_versions.algorithm IS 'name given after USING';
COMMENT ON COLUMN ml.model_versions.task IS 'regression, binary, multiclass, ...';
COMMENT ON COLUMN ml.model_versions.target IS 'name of the column that was learned';
COMMENT ON COLUMN ml.model_versions.target_type IS 'its SQL type';
COMMENT ON COLUMN ml.model_versions.target_type_sql IS 'the same, qualified and quoted for any search_path';
COMMENT ON COLUMN ml.model_versions.predict_kind IS 'what PREDICT returns: value, probability or label';
COMMENT ON COLUMN ml.model_versions.classes IS 'class labels as SQL text, in the order of the model';
COMMENT ON COLUMN ml.model_versions.parameters IS 'hyper-parameters, defaults included';
COMMENT ON COLUMN ml.model_versions.features IS 'inputs in order: name, kind, sql_type, width, categories';
COMMENT ON COLUMN ml.model_versions.terms IS 'what was learned, as DESCRIBE MODEL shows it';
COMMENT ON COLUMN ml.model_versions.metrics IS 'quality on held-out rows, never on the training rows';
COMMENT ON COLUMN ml.model_versions.accuracy IS 'held-out share of right labels';
COMMENT ON COLUMN ml.model_versions.f1 IS 'held-out F1 score';
COMMENT ON COLUMN ml.model_versions.auc IS 'held-out area under the ROC curve';
COMMENT ON COLUMN ml.model_versions.log_loss IS 'held-out cross-entropy, in nats';
COMMENT ON COLUMN ml.model_versions.r2 IS 'held-out coefficient of determination';
COMMENT ON COLUMN ml.model_versions.rmse IS 'held-out root mean squared error, in the target''s unit';
COMMENT ON COLUMN ml.model_versions.mae IS 'held-out mean absolute error, in the target''s unit';
COMMENT ON COLUMN ml.model_versions.query IS 'training query, as written';
COMMENT ON COLUMN ml.model_versions.training_rows IS 'rows that were learned from';
COMMENT ON COLUMN ml.model_versions.holdout_rows IS 'rows that the metrics were measured on';
COMMENT ON COLUMN ml.model_versions.duration_s IS 'training time in seconds';
COMMENT ON COLUMN ml.model_versions.random_state IS 'seed';
COMMENT ON COLUMN ml.model_versions.created_at IS 'when this version was stored';
COMMENT ON COLUMN ml.model_versions.created_by IS 'name of the role that stored it';
COMMENT ON COLUMN ml.model_versions.status IS 'ready';
COMMENT ON COLUMN ml.model_versions.format_version IS 'format of the artefact';
COMMENT ON COLUMN ml.model_versions.artefact IS 'arrays in safetensors with JSON metadata; holds no code';
COMMENT ON COLUMN ml.model_versions.artefact_sha256 IS 'sha256 of artefact, in hexadecimal; checked at every load';
COMMENT ON COLUMN ml.model_versions.artefact_size_bytes IS 'length of artefact';
COMMENT ON VIEW ml.ml_models IS 'pgseer: every version of every model, with its held-out metrics';
COMMENT ON COLUMN ml.ml_models.owner IS 'role that may replace and drop the model';
COMMENT ON COLUMN ml.ml_models.is_default IS 'the version that PREDICT(model, ...) means';
COMMENT ON FUNCTION ml.vector(float8[], integer) IS
    'an array feature, refused if it has not as many elements as the model was trained on';
COMMENT ON FUNCTION ml.wrong_length(integer, integer) IS 'raises what ml.vector refuses with';
COMMENT ON FUNCTION ml.notify_models() IS 'pgseer: tells every proxy which model changed';
COMMENT ON FUNCTION ml.caller() IS 'pgseer: the role that called a SECURITY DEFINER function';
COMMENT ON FUNCTION ml.check_owner(text, text) IS 'pgseer: raises 42501 unless the caller owns the model';
COMMENT ON FUNCTION ml.find_version(text, numeric) IS 'pgseer: the version meant, NULL meaning the default; raises 42704';
COMMENT ON FUNCTION ml.model_exists(text) IS 'pgseer: whether any version of the model is visible';
COMMENT ON FUNCTION ml.check_create_model(text) IS 'pgseer: raises what ml.store_model would raise, before the training';
COMMENT ON FUNCTION ml.store_model(jsonb, boolean, boolean, bytea) IS 'pgseer: stores a trained model as its next version, which is returned; NULL when IF NOT EXISTS found one';
COMMENT ON PROCEDURE ml.drop_model(text, numeric, boolean) IS 'pgseer: DROP MODEL [IF EXISTS] name[:version]';
COMMENT ON FUNCTION ml.model_catalog() IS 'pgseer: what planning needs of every version, JSON in UTF-8';
COMMENT ON FUNCTION ml.model_artefact(text, numeric) IS 'pgseer: the stored bytes of one version';
COMMENT ON FUNCTION ml.show_model(text) IS 'pgseer: SHOW MODEL name';
COMMENT ON FUNCTION ml.describe_model(text, numeric) IS 'pgseer: DESCRIBE MODEL name[:version]';
