"""A row of the table stays when its new row is rejected: how many a run kept, and which rejected rows these are.

Runs before this kept none. Parts that an earlier release staged do not say whose rows were rejected, so a run that is
between staging and publishing right now fails with "was not staged" and publishes nothing; the next run stages again.
"""

# ruff: noqa: S608 - the statements are made of constants
from alembic import op

from evdata.schema import INTERNAL

revision = "0004"
down_revision = "0003"

COLUMNS = f"""
ALTER TABLE public.pipeline_run ADD COLUMN kept bigint;
UPDATE public.pipeline_run SET kept = 0 WHERE source IS NOT NULL;
ALTER TABLE public.pipeline_run
  ADD CHECK (kept BETWEEN 0 AND rejected),
  ADD CHECK (status = 'refused' OR kept IS NOT NULL);
COMMENT ON COLUMN public.pipeline_run.kept IS 'Rows of the table that stayed as they were because their new row was '
  'rejected; the table has loaded and kept rows';
COMMENT ON COLUMN public.pipeline_run.removed IS 'Rows that left the source; their last version went to the history. '
  'A row that came with a key that cannot be read counts as one that left';

ALTER TABLE public.rejected_row ADD COLUMN key text, ADD COLUMN kept boolean NOT NULL DEFAULT false;
CREATE INDEX ON public.rejected_row (execution_id) WHERE kept;
COMMENT ON COLUMN public.rejected_row.key IS 'The row''s key as the table has it; NULL if it cannot be read, and in '
  'rows from before releases that kept rows';
COMMENT ON COLUMN public.rejected_row.kept IS 'Whether the table kept the last good row of that key';

ALTER TABLE {INTERNAL}.rejected ADD COLUMN key text, ADD COLUMN kept boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN {INTERNAL}.rejected.key IS 'The row''s key as the table has it; NULL if it cannot be read';
COMMENT ON COLUMN {INTERNAL}.rejected.kept IS 'Whether the table keeps the last good row of that key';
DELETE FROM {INTERNAL}.part p WHERE EXISTS (
  SELECT FROM {INTERNAL}.rejected r WHERE (r.manifest_key, r.part) = (p.manifest_key, p.part)
);
DELETE FROM {INTERNAL}.rejected;
"""


def upgrade() -> None:
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute(COLUMNS)


def downgrade() -> None:
    """Leave the columns: they go with their tables."""
