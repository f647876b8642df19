"""`shop psql`: a service's tables, in the role that may only read, and not what is secret."""

import json
import re
import sys

import click
from click.shell_completion import CompletionItem

from catalogue import SERVICE
from cli.failures import Failure, ProgramFailed, Unknown, WrongState
from cli.session import Session, runs
from cli.systems import reader
from cli.systems.running import Running

# psql's own words for an error that the server reports.
_ERROR = re.compile(r"^ERROR: .*", re.MULTILINE | re.DOTALL)
# A backslash at the beginning makes it a command of psql's own, and most of those can run programs; not this one.
_DESCRIBE = re.compile(r"\\d[a-zA-Z+]*( +[a-z_.*]+)?")
_HIDDEN = re.compile(r"permission denied for table (\w+)")

_COLUMNS = """
    SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
      AND {} has_column_privilege(c.oid, a.attnum, 'SELECT')
    ORDER BY c.relname, a.attnum
"""
# The query on lines of its own: it may end with a comment.
_AS_JSON = "SELECT coalesce(json_agg(result), '[]') FROM (\n{}\n) AS result"

_DENIED = "\nHidden: {}. Name the columns that you want: SELECT {} FROM {}"


def _services(_ctx: click.Context, _argument: click.Parameter, begun: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in SERVICE if name.startswith(begun)]


@click.command(name="psql")
@click.argument("service", shell_complete=_services)
@click.option("-c", "--command", "sql", help="Run this SQL and print what it gives, instead of asking for more.")
@runs
async def command(session: Session, service: str, sql: str | None) -> None:
    """Look into the tables of SERVICE: order, payment or inventory. Read only.

    Without -c it is psql: \\d lists the tables, \\d sagas one table's columns, \\q ends it. Card tokens, and what they
    could be found by, are hidden: where a table has such a column, name those that you want.

    With --json the rows of one query are objects.
    """
    if service not in SERVICE:
        raise Unknown(f"There is no service {service}; there are {', '.join(SERVICE)}.")
    if sql is None and session.out.as_json:
        raise click.UsageError("--json is for the result of one query: give it with -c.")
    if sql is None and not session.out.is_terminal:
        sql = sys.stdin.read()
    if sql is not None and not sql.strip():
        raise click.UsageError("There is no SQL to run: neither after -c nor on standard input.")
    system = await session.system()
    if sql is None:
        await _open(session, system, service)
    elif session.out.as_json:
        session.out.show(await _rows(system, service, sql), lambda _: None)
    else:
        click.echo(await _said(system, service, sql), nl=False)


async def _open(session: Session, system: Running, service: str) -> None:
    from cli.systems.docker import replaced_by

    hidden = [f"{table}.{column}" for table, column in await _columns(system, service, shown=False)]
    session.out.remark(f"Read only; hidden: {', '.join(hidden) or 'nothing'}.", style="dim")
    replaced_by(system.psql(service, interactive=True))


async def _rows(system: Running, service: str, sql: str) -> list[dict[str, object]]:
    query = sql.strip().rstrip(";")
    if not re.match(r"\(|(select|with|values|table)\b", query, re.IGNORECASE):
        raise click.UsageError("--json is for the result of one query: SELECT, WITH, VALUES or TABLE.")
    return json.loads(await _said(system, service, _AS_JSON.format(query), "--tuples-only", "--no-align"))


async def _said(system: Running, service: str, sql: str, *options: str) -> str:
    """What psql prints.

    Raises:
        Failure: the server refused it.
    """
    if sql.lstrip().startswith("\\") and not _DESCRIBE.fullmatch(sql.strip()):
        raise click.UsageError("Of psql's own commands -c takes \\d… alone; the others are for its prompt.")
    try:
        return await system.run(system.psql(service, *options, "--command", sql.strip()))
    except ProgramFailed as failed:
        if reader.is_missing(service, failed.said):
            commands = "".join(f"\n  {each}" for each in reader.commands(service))
            raise WrongState(f"The database of {service} has no role that only looks: make it.{commands}") from None
        error = _ERROR.search(failed.said)
        if error is None:
            raise
        hidden = _HIDDEN.search(error[0])
        advice = await _what_is_shown(system, service, hidden[1]) if hidden else ""
        raise Failure(error[0] + advice) from None


async def _what_is_shown(system: Running, service: str, table: str) -> str:
    shown = [column for name, column in await _columns(system, service, shown=True) if name == table]
    hidden = [column for name, column in await _columns(system, service, shown=False) if name == table]
    return _DENIED.format(", ".join(hidden), ", ".join(shown), table)


async def _columns(system: Running, service: str, *, shown: bool) -> list[list[str]]:
    """Table and column of what the role may read, or of what it may not."""
    sql = _COLUMNS.format("" if shown else "NOT")
    said = await _said(system, service, sql, "--tuples-only", "--no-align")
    return [line.split("|") for line in said.splitlines()]
