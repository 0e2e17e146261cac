"""Alembic's entry: migrations run in the transaction of the connection that `warehouse` hands over."""

from alembic import context

from evdata.warehouse import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"], version_table=VERSION_TABLE, transactional_ddl=False
)
context.run_migrations()
