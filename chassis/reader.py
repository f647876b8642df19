"""What the role that only looks, `<database>_reader`, may read: all but the columns that the model marks as secret.

Column(…, info=SECRET) ── each start, after the migrations ─▶ GRANT SELECT (every other column) ON table
"""

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, MetaData, text

# On a column: what is in it, or could be found by trying, is nobody's but the service's.
SECRET: dict[Any, Any] = {"secret": True}

# Alembic's own, which no model describes.
_REVISION = "alembic_version"

_ROLE = text("SELECT quote_ident(rolname) FROM pg_roles WHERE rolname = current_database() || '_reader'")
_COLUMNS = text(
    """
    SELECT c.relname, a.attname, quote_ident(c.relname), quote_ident(a.attname)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = to_regnamespace('public') AND c.relkind IN ('r', 'p') AND a.attnum > 0
      AND NOT a.attisdropped AND pg_has_role(c.relowner, 'USAGE')
    ORDER BY c.relname, a.attnum
    """
)


def grant(connection: Connection, metadata: MetaData) -> None:
    """Let the reader see what the model does not keep secret, and nothing else; the owner calls it.

    A table that the model does not know, one of a newer version, stays as that version left it. A database that was
    made before there was a reader has none: then nothing is done.
    """
    role = connection.scalar(_ROLE)
    if role is None:
        return
    shown: defaultdict[str, list[str]] = defaultdict(list)
    hidden: set[str] = set()
    for table, column, quoted_table, quoted_column in connection.execute(_COLUMNS):
        if _is_shown(metadata, table, column):
            shown[quoted_table].append(quoted_column)
        elif table in metadata.tables:
            hidden.add(quoted_table)
    for table, columns in shown.items():
        # First, so that a column which became secret is hidden from now on; nobody sees the moment in between.
        connection.execute(text(f"REVOKE ALL ON {table} FROM {role}"))
        what = f"SELECT ({', '.join(columns)})" if table in hidden else "SELECT"
        connection.execute(text(f"GRANT {what} ON {table} TO {role}"))


def _is_shown(metadata: MetaData, table: str, column: str) -> bool:
    if table not in metadata.tables:
        return table == _REVISION
    described = metadata.tables[table].columns.get(column)
    # A column of a newer version may be a secret of it.
    return described is not None and not described.info.get("secret", False)
