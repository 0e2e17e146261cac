"""Comments on Alembic's own table.

It used to make the contract's views, comments and the reader's rights too; `env.py` makes them now.
"""

from alembic import op

from evdata.ownership import refuse_others
from evdata.warehouse import VERSION_TABLE

revision = "0002"
down_revision = "0001"

# The first release made four views; a database of that release that has one of these has it from somebody else.
VIEWS = ("ev_by_city", "ev_by_range", "ev_by_utility", "ev_by_legislative_district", "ev_moves")

COMMENTS = f"""
COMMENT ON TABLE {VERSION_TABLE} IS 'Which of the pipeline''s migrations this database has; Alembic''s own';
COMMENT ON COLUMN {VERSION_TABLE}.version_num IS 'The newest of them';
"""


def upgrade() -> None:
    with op.get_bind().connection.cursor() as cursor:
        refuse_others(cursor, VIEWS)
        cursor.execute(COMMENTS)


def downgrade() -> None:
    """Leave the comments."""
