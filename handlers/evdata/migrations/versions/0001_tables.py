"""The tables: current and history, runs and rejected rows.

It used to make the as-of function, the first views, the reading role and the schema `staging` too. 0003 makes the
schema under another name now, and `env.py` the rest.
"""

from alembic import op

from evdata.dataset import DATASET
from evdata.ownership import refuse_others
from evdata.schema import create_tables, drop_tables, readable

revision = "0001"
down_revision = None

PIPELINE_TABLES = """
CREATE TABLE pipeline_run (
  execution_id text PRIMARY KEY,
  dataset_id text NOT NULL,
  dataset_version timestamptz NOT NULL,
  manifest_key text NOT NULL,
  status text NOT NULL CHECK (status IN ('published', 'unchanged', 'superseded', 'refused')),
  extracted_at timestamptz,
  started_at timestamptz NOT NULL,
  finished_at timestamptz NOT NULL,
  source bigint,
  loaded bigint,
  inserted bigint,
  updated bigint,
  removed bigint,
  unchanged bigint,
  rejected bigint,
  warnings jsonb NOT NULL DEFAULT '{}',
  message text NOT NULL,
  CHECK (source = loaded + rejected),
  CHECK (loaded = inserted + updated + unchanged),
  CHECK (status = 'refused' OR (source, loaded, inserted, updated, removed, unchanged, rejected) IS NOT NULL)
);
CREATE INDEX ON pipeline_run (dataset_version) WHERE status = 'published';
COMMENT ON TABLE pipeline_run IS 'One row an execution that came as far as publishing';
COMMENT ON COLUMN pipeline_run.execution_id IS 'ARN of the Step Functions execution';
COMMENT ON COLUMN pipeline_run.dataset_id IS 'Socrata''s identifier of the dataset';
COMMENT ON COLUMN pipeline_run.dataset_version IS 'When the source last updated its rows';
COMMENT ON COLUMN pipeline_run.manifest_key IS 'Where the raw version lies in the bucket';
COMMENT ON COLUMN pipeline_run.status IS 'published; unchanged: another execution had published this version; '
  'superseded: a newer version stands; refused: a guard kept it out';
COMMENT ON COLUMN pipeline_run.extracted_at IS 'When the raw version was copied from the source; NULL if its '
  'manifest could not be read';
COMMENT ON COLUMN pipeline_run.started_at IS 'When publishing began';
COMMENT ON COLUMN pipeline_run.finished_at IS 'When publishing ended';
COMMENT ON COLUMN pipeline_run.source IS 'Rows that the source had: loaded and rejected';
COMMENT ON COLUMN pipeline_run.loaded IS 'Rows of this version in the table: inserted, updated and unchanged';
COMMENT ON COLUMN pipeline_run.inserted IS 'Rows whose key was not in the table';
COMMENT ON COLUMN pipeline_run.updated IS 'Rows that changed and whose former version went to the history';
COMMENT ON COLUMN pipeline_run.removed IS 'Rows that left the source; their last version went to the history';
COMMENT ON COLUMN pipeline_run.unchanged IS 'Rows that read as before, but for columns that make no history';
COMMENT ON COLUMN pipeline_run.rejected IS 'Rows that could not be kept; they stand in rejected_row';
COMMENT ON COLUMN pipeline_run.warnings IS 'Expectations across columns and how many rows broke each';
COMMENT ON COLUMN pipeline_run.message IS 'What happened, in words';

CREATE TABLE rejected_row (
  execution_id text NOT NULL REFERENCES pipeline_run ON DELETE CASCADE,
  part integer NOT NULL,
  line integer NOT NULL,
  raw jsonb NOT NULL,
  reasons text[] NOT NULL CHECK (cardinality(reasons) > 0),
  PRIMARY KEY (execution_id, part, line)
);
COMMENT ON TABLE rejected_row IS 'Every row of a run that was not loaded, as it came, with every reason';
COMMENT ON COLUMN rejected_row.execution_id IS 'The run';
COMMENT ON COLUMN rejected_row.part IS 'Part of the raw version';
COMMENT ON COLUMN rejected_row.line IS 'Record within the part; the header is line 1';
COMMENT ON COLUMN rejected_row.raw IS 'The row as the source gave it';
COMMENT ON COLUMN rejected_row.reasons IS 'Why it was not loaded';
"""


def upgrade() -> None:
    with op.get_bind().connection.cursor() as cursor:
        refuse_others(cursor, readable(DATASET), function=f"{DATASET.table}_as_of")
        cursor.execute(create_tables(DATASET))
        cursor.execute(PIPELINE_TABLES)


def downgrade() -> None:
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute(drop_tables(DATASET))
        cursor.execute("DROP TABLE rejected_row, pipeline_run")
