"""Spans lead to their source: a function, or a call on the stack."""

import inspect
from contextvars import copy_context
from functools import partial, update_wrapper

from chassis import telemetry
from chassis.source import Source, call_site, code
from chassis.testing import Spans, attributes


def test_a_function_is_named_with_its_file_and_line() -> None:
    """Below the root of the project, and also behind a partial."""
    wrapped = update_wrapper(partial(telemetry.fail), telemetry.fail)
    for function in (telemetry.fail, wrapped):
        found = code(function)
        assert found["code.function.name"] == "chassis.telemetry.fail"
        assert found["code.file.path"] == "chassis/telemetry.py"
        assert found["code.line.number"] == telemetry.fail.__code__.co_firstlineno


def test_a_call_is_named_with_its_own_line() -> None:
    def asked() -> Source:
        return call_site(1)

    frame = inspect.currentframe()
    assert frame is not None
    found, line = asked(), frame.f_lineno
    assert found["code.line.number"] == line
    assert str(found["code.function.name"]).endswith("test_a_call_is_named_with_its_own_line")


def test_what_is_opened_for_a_handler_leads_to_it(spans: Spans) -> None:
    """Unless it leads somewhere itself: the decision is more than the way to it."""
    with telemetry.span("the decision") as decision, telemetry.inside(decision, telemetry.fail):
        with telemetry.span("its own", attributes=code(telemetry.link)):
            pass
        with telemetry.span("the handler's"):
            pass
    assert attributes(spans.one("its own"))["code.function.name"] == "chassis.telemetry.link"
    assert attributes(spans.one("the handler's"))["code.function.name"] == "chassis.telemetry.fail"


def test_a_span_that_leads_nowhere_is_led_to_the_handler_and_keeps_its_way(spans: Spans) -> None:
    """The first word counts: a charge is decided by the worker that calls, not by what records the answer."""

    def serve() -> None:
        with telemetry.span("served"):
            telemetry.leads_to(telemetry.fail)
            telemetry.leads_to(telemetry.link)

    # In a context of its own, as a task has one.
    copy_context().run(serve)
    assert attributes(spans.one("served"))["code.function.name"] == "chassis.telemetry.fail"
