"""The schema of the staged parts, `staging` until now, gets a name that nobody else uses.

A new database never has a schema `staging` of ours. In an older one, what 0001 and the runs made there moves, rows and
all, and the schema goes unless something else is in it. Nothing of anybody else's is touched. From here on the
migrations note what they make.

A function of the earlier release that still runs meanwhile finds `staging.part` gone, or a revision that it does not
know, and fails without having published anything. The next run does it all.
"""

# ruff: noqa: S608 - the statements are made of constants
from alembic import op

from evdata.dataset import DATASET
from evdata.ownership import claim, refuse_others
from evdata.schema import INTERNAL, tables

revision = "0003"
down_revision = "0002"

_SCHEMA = "Parts on their way into the tables; empty when no run is under way"
_PART = "Parts that were staged, or the reason why one could not be"

# What tells our objects in `staging` from others is what 0001 wrote on them: the name is a common one.
MOVE = f"""
DO $$
DECLARE
  former CONSTANT oid := to_regnamespace('staging');
  moving text;
BEGIN
  IF obj_description(to_regclass('staging.part'), 'pg_class') IS DISTINCT FROM '{_PART}' THEN
    RETURN;
  END IF;
  FOR moving IN
    SELECT relname FROM pg_class WHERE relnamespace = former AND relkind = 'r'
    AND (relname IN ('part', 'rejected') OR relname ~ '^.+_[0-9]{{14}}_[0-9]{{5}}$' AND relpersistence = 'u')
  LOOP
    EXECUTE format('ALTER TABLE staging.%I SET SCHEMA {INTERNAL}', moving);
  END LOOP;
  IF obj_description(former, 'pg_namespace') = '{_SCHEMA}' THEN
    IF EXISTS (SELECT FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = former) THEN
      COMMENT ON SCHEMA staging IS NULL; -- it is somebody else's now
    ELSE
      DROP SCHEMA staging;
    END IF;
  END IF;
END $$;
"""

TABLES = f"""
CREATE TABLE IF NOT EXISTS {INTERNAL}.part (
  manifest_key text NOT NULL,
  part integer NOT NULL,
  sha256 text,
  rows bigint,
  rejected bigint,
  warnings jsonb NOT NULL DEFAULT '{{}}',
  error text,
  staged_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (manifest_key, part)
);
COMMENT ON TABLE {INTERNAL}.part IS '{_PART}';
COMMENT ON COLUMN {INTERNAL}.part.manifest_key IS 'The raw version';
COMMENT ON COLUMN {INTERNAL}.part.part IS 'Part of the raw version';
COMMENT ON COLUMN {INTERNAL}.part.sha256 IS 'Digest of the bytes it was staged from; NULL if it could not be';
COMMENT ON COLUMN {INTERNAL}.part.rows IS 'Rows to load; NULL if it could not be staged';
COMMENT ON COLUMN {INTERNAL}.part.rejected IS 'Rows that cannot be loaded; NULL if it could not be staged';
COMMENT ON COLUMN {INTERNAL}.part.warnings IS 'Expectations across columns and how many rows broke each';
COMMENT ON COLUMN {INTERNAL}.part.error IS 'Why it could not be staged; NULL if it was';
COMMENT ON COLUMN {INTERNAL}.part.staged_at IS 'When it was staged, or could not be';
CREATE TABLE IF NOT EXISTS {INTERNAL}.rejected (
  manifest_key text NOT NULL,
  part integer NOT NULL,
  line integer NOT NULL,
  raw jsonb NOT NULL,
  reasons text[] NOT NULL,
  PRIMARY KEY (manifest_key, part, line)
);
COMMENT ON TABLE {INTERNAL}.rejected IS 'Rows of staged parts that cannot be loaded';
COMMENT ON COLUMN {INTERNAL}.rejected.manifest_key IS 'The raw version';
COMMENT ON COLUMN {INTERNAL}.rejected.part IS 'Part of the raw version';
COMMENT ON COLUMN {INTERNAL}.rejected.line IS 'Record within the part; the header is line 1';
COMMENT ON COLUMN {INTERNAL}.rejected.raw IS 'The row as the source gave it';
COMMENT ON COLUMN {INTERNAL}.rejected.reasons IS 'Why it cannot be loaded';
"""


# The releases before made these, or would have failed.
VIEWS = (
    *("ev_by_county", "ev_by_city", "ev_by_make_model", "ev_by_model_year", "ev_by_range", "ev_by_utility"),
    *("ev_by_legislative_district", "ev_growth", "ev_moves"),
)

REGISTRY = f"""
CREATE TABLE {INTERNAL}.made (object regclass PRIMARY KEY);
COMMENT ON TABLE {INTERNAL}.made IS 'The tables and views in the schema public that the migrations made';
COMMENT ON COLUMN {INTERNAL}.made.object IS 'One of them; an object that is not listed is somebody else''s';
"""


def upgrade() -> None:
    with op.get_bind().connection.cursor() as cursor:
        refuse_others(cursor, ())
        cursor.execute(f"CREATE SCHEMA {INTERNAL}")
        cursor.execute(f"COMMENT ON SCHEMA {INTERNAL} IS '{_SCHEMA}'")
        cursor.execute(MOVE)
        cursor.execute(TABLES)
        cursor.execute(REGISTRY)
        claim(cursor, (*tables(DATASET), *VIEWS))


def downgrade() -> None:
    """Take the schema away. `staging` does not come back: nothing that is released runs on 0002 again."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r' "
            "AND (relname IN ('part', 'rejected', 'made') OR relname ~ '^.+_[0-9]{14}_[0-9]{5}$')",
            (INTERNAL,),
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f'DROP TABLE {INTERNAL}."{name}"')
        cursor.execute(f"DROP SCHEMA {INTERNAL}")
