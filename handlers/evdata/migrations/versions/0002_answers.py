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
