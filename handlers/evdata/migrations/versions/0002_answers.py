"""The views of the contract, a comment on whatever lacked one, and the role that may read it all and no more.

A database that 0001 made when it still made views has its views replaced; going back to 0001 leaves none.
"""

from alembic import op

from evdata.dataset import DATASET
from evdata.schema import create_views, describe_tables, drop_views, grant_reading, revoke_reading
from evdata.warehouse import VERSION_TABLE

revision = "0002"
down_revision = "0001"

COMMENTS = f"""
COMMENT ON COLUMN staging.part.manifest_key IS 'The raw version';
COMMENT ON COLUMN staging.part.part IS 'Part of the raw version';
COMMENT ON COLUMN staging.part.sha256 IS 'Digest of the bytes it was staged from; NULL if it could not be';
COMMENT ON COLUMN staging.part.rows IS 'Rows to load; NULL if it could not be staged';
COMMENT ON COLUMN staging.part.rejected IS 'Rows that cannot be kept; NULL if it could not be staged';
COMMENT ON COLUMN staging.part.warnings IS 'Expectations across columns and how many rows broke each';
COMMENT ON COLUMN staging.part.error IS 'Why it could not be staged; NULL if it was';
COMMENT ON COLUMN staging.part.staged_at IS 'When it was staged, or could not be';
COMMENT ON COLUMN staging.rejected.manifest_key IS 'The raw version';
COMMENT ON COLUMN staging.rejected.part IS 'Part of the raw version';
COMMENT ON COLUMN staging.rejected.line IS 'Record within the part; the header is line 1';
COMMENT ON COLUMN staging.rejected.raw IS 'The row as the source gave it';
COMMENT ON COLUMN staging.rejected.reasons IS 'Why it cannot be loaded';
COMMENT ON TABLE {VERSION_TABLE} IS 'Which of the pipeline''s migrations this database has; Alembic''s own';
COMMENT ON COLUMN {VERSION_TABLE}.version_num IS 'The newest of them';
"""


def upgrade() -> None:
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute(create_views(DATASET))
        cursor.execute(describe_tables(DATASET))
        cursor.execute(COMMENTS)
        cursor.execute(grant_reading(DATASET, machinery=(VERSION_TABLE,)))


def downgrade() -> None:
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute(revoke_reading(DATASET))
        cursor.execute(drop_views(DATASET))
