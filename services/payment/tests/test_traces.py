"""What a reader of traces sees of a charge and of a refund."""

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from chassis.testing import Spans
from services.payment.tests.driver import Driver


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


async def test_a_charge_hangs_below_the_command_that_asked_for_it(driver: Driver, spans: Spans, order_id: str) -> None:
    """charge_payment ─ charge card, which is the unit of work too ─ POST /charges, create payment.events."""
    await driver.charge(order_id)
    await driver.settle(order_id)
    work = spans.one("charge card")
    assert parent_of(work) == id_of(spans.one("charge_payment"))
    assert (work.kind, work.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)
    assert work.attributes is not None
    assert work.attributes["shop.order.id"] == order_id
    assert work.attributes["shop.payment.attempt"] == 1
    assert work.attributes["shop.payment.outcome"] == "CHARGED"
    call = spans.one("POST /charges")
    assert (parent_of(call), call.kind) == (id_of(work), SpanKind.CLIENT)
    assert parent_of(spans.one("create payment.events PaymentCharged")) == id_of(work)


async def test_a_decline_is_no_error(driver: Driver, spans: Spans, order_id: str) -> None:
    """A refusal is an answer: no span has failed."""
    await driver.charge(order_id, "tok_declined")
    await driver.settle(order_id)
    assert [span.name for span in spans.all() if span.status.status_code is StatusCode.ERROR] == []


async def test_a_second_attempt_links_to_the_first(driver: Driver, spans: Spans, order_id: str) -> None:
    """Both hang below the command; the first failed, the second asked before anything else."""
    await driver.charge(order_id, "tok_lost_answer")
    await driver.settle(order_id)
    first, second = spans.named("charge card")
    assert parent_of(first) == parent_of(second) == id_of(spans.one("charge_payment"))
    assert first.status.status_code is StatusCode.ERROR
    assert [link.context.span_id for link in second.links] == [id_of(first)]
    assert parent_of(spans.one("GET /charges/{key}")) == id_of(second)
    assert len(spans.named("POST /charges")) == 1


async def test_a_refund_hangs_below_the_wish(driver: Driver, spans: Spans, order_id: str) -> None:
    """Not below the charge: who asked for it is what a reader wants to know."""
    await driver.charge(order_id)
    await driver.settle(order_id)
    spans.clear()
    await driver.refund(order_id)
    await driver.settle(order_id)
    work = spans.one("void charge")
    assert parent_of(work) == id_of(spans.one("refund_payment"))
    assert work.attributes is not None
    assert work.attributes["shop.payment.outcome"] == "REFUNDED"
    assert parent_of(spans.one("create payment.events PaymentRefunded")) == id_of(work)


async def test_no_span_and_no_event_tells_the_card(driver: Driver, spans: Spans, order_id: str) -> None:
    """Neither when all goes well nor when it does not."""
    await driver.charge(order_id, "tok_lost_answer")
    await driver.settle(order_id)
    await driver.refund(order_id)
    await driver.settle(order_id)
    assert len(spans.all()) > 10
    assert [span.name for span in spans.all() if "tok_lost_answer" in span.to_json()] == []
    assert [told for told in await driver.outbox(order_id) if "tok_" in str(told.event)] == []
