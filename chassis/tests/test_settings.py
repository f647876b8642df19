"""Settings, logs and page tokens: what is wrong is named, what is secret is not shown."""

import json

import pytest
import structlog
from hypothesis import given, strategies
from pydantic import ValidationError

from chassis import logs, paging, telemetry
from chassis.errors import Invalid
from chassis.settings import ProcessSettings, ServiceSettings
from chassis.testing import Spans, context

URL = "postgresql+asyncpg://order:hunter2@127.0.0.1/order"


def test_secrets_are_not_shown() -> None:
    """Neither a printed setting nor an error tells a password."""
    settings = ServiceSettings(admin_port=1, grpc_port=1, database_url=URL, database_owner_url=URL)  # pyright: ignore[reportArgumentType] - as the environment gives it
    assert "hunter2" not in repr(settings)
    with pytest.raises(ValidationError) as wrong:
        ServiceSettings(admin_port=1, grpc_port=1, database_url="mysql://a:hunter2@b/c", database_owner_url=URL)  # pyright: ignore[reportArgumentType] - as the environment gives it
    assert "hunter2" not in str(wrong.value)
    assert "postgresql+asyncpg" in str(wrong.value)


def test_the_environment_is_where_settings_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field `name` is the variable `NAME`."""
    monkeypatch.setenv("ADMIN_PORT", "9109")
    monkeypatch.setenv("TRACE_ASYNC", "link")
    settings = ProcessSettings()  # pyright: ignore[reportCallIssue] - the environment is the argument
    assert (settings.admin_port, settings.trace_async) == (9109, "link")


def test_a_log_line_leads_to_its_span(spans: Spans, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is JSON with the service, the trace and the span it was written in."""
    kept = structlog.get_config()
    logs.configure("order", ProcessSettings(admin_port=1))
    try:
        with telemetry.span("work"):
            logs.get("a.module").warning("something", order_id="order-1")
    finally:
        structlog.configure(**kept)
        structlog.contextvars.clear_contextvars()
    line = json.loads(capsys.readouterr().err.strip().splitlines()[-1])
    found = context(spans.one("work"))
    assert line["trace_id"] == f"{found.trace_id:032x}"
    assert line["span_id"] == f"{found.span_id:016x}"
    assert (line["event"], line["service"], line["order_id"], line["level"]) == (
        "something",
        "order",
        "order-1",
        "warning",
    )


@given(strategies.lists(strategies.text(strategies.characters(exclude_characters="\n", codec="utf-8")), min_size=1))
def test_a_page_token_leads_back_to_its_place(keys: list[str]) -> None:
    """Whatever the sort keys are."""
    token = paging.token(*keys)
    assert paging.place(token, len(keys)) == (keys if token else None)


@given(strategies.text(min_size=1))
def test_any_other_token_is_refused_by_its_field(token: str) -> None:
    """A caller's invention is a place or a refusal, never a fault."""
    try:
        paging.place(token, 1)
    except Invalid as refused:
        assert refused.field == "page_token"
