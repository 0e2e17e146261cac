"""Alembic's entry: migrations run in the transaction of the connection that `warehouse` hands over.

Migrations make and change tables. What is derived from the contract (views, the as-of function, comments, the reader's
rights) is brought up to it after the last of them, and taken away before the first of the way back: no migration has to
make a view of columns that only a later one adds. A change of these alone is a migration that does nothing.
"""

from alembic import context

from evdata.dataset import DATASET
from evdata.ownership import drop_views, make_views, refuse_others_tables
from evdata.schema import create_as_of, describe_tables, drop_as_of, grant_reading, revoke_reading
from evdata.warehouse import VERSION_TABLE

connection = context.config.attributes["connection"]
destination = context.get_revision_argument()
context.configure(connection=connection, version_table=VERSION_TABLE, transactional_ddl=False)

with connection.connection.cursor() as cursor:
    if destination is None:  # all the way back
        refuse_others_tables(cursor, DATASET)
        cursor.execute(revoke_reading(DATASET))
        drop_views(cursor, DATASET)
        cursor.execute(drop_as_of(DATASET))

    context.run_migrations()

    if destination == context.get_head_revision():
        refuse_others_tables(cursor, DATASET)
        cursor.execute(create_as_of(DATASET))
        make_views(cursor, DATASET)
        cursor.execute(describe_tables(DATASET))
        cursor.execute(grant_reading(DATASET, machinery=(VERSION_TABLE,)))
