"""Alembic's entry: migrations run in the transaction of the connection that `warehouse` hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
