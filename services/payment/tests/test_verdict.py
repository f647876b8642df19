"""The table of the network's answers: each combination has a verdict, and none is silent or leads in a circle."""

import itertools

import pytest

from services.payment.verdict import (
    Answer,
    Move,
    NoAnswer,
    Outcome,
    Price,
    Question,
    Reply,
    Standing,
    State,
    Unclear,
    is_open,
    judge,
    opening,
)

PRICE, OTHER, FOREIGN = Price(1250, "EUR"), Price(1, "EUR"), Price(1250, "USD")
REPLIES: list[Reply] = [
    *(Answer(outcome, price) for outcome in Outcome for price in (PRICE, OTHER, FOREIGN)),
    NoAnswer("time-out"),
    Unclear("no JSON"),
    None,
]
STANDINGS = [
    Standing(state, price, wished=wished, doubted=doubted)
    for state in State
    for price in (PRICE, None)
    for wished in (False, True)
    for doubted in (False, True)
    # What there can be: a final refund is wished for no more, and what nobody asked to charge is no open charge.
    if not (state is State.REFUNDED and wished) and not (price is None and state in (State.DECLINED, State.CHARGED))
]
CELLS = list(itertools.product(STANDINGS, Question, REPLIES))


@pytest.mark.parametrize("payment", STANDINGS, ids=str)
def test_an_open_payment_always_goes_on(payment: Standing) -> None:
    """It moves, asks on, tries again later, or wants the money back; a closed one never asks anything."""
    for question, reply in itertools.product(Question, REPLIES):
        found = judge(payment, question, reply)
        if is_open(payment):
            assert found.moves or found.asks or found.again or found.wishes, (question, reply)
        else:
            assert not (found.asks or found.again), (question, reply)


def test_no_attempt_goes_in_a_circle() -> None:
    """Whatever the network says, to each question something else: three questions at most, each once."""
    for payment, attempts in itertools.product(filter(is_open, STANDINGS), (1, 2)):
        ways = [[opening(payment, attempts)]]
        while ways:
            asked = ways.pop()
            assert len(set(asked)) == len(asked) <= 3
            ways += [
                [*asked, found.asks]
                for reply in REPLIES
                if (found := judge(payment, asked[-1], reply)).asks is not None
            ]


def test_moves_follow_each_other_from_where_the_payment_is() -> None:
    """Each begins where the one before it ended, and no two books the same."""
    for payment, question, reply in CELLS:
        at, booked = payment.state, list[str]()
        for move in judge(payment, question, reply).moves:
            assert move.before is at
            at = move.after
            booked += move.postings
        assert len(set(booked)) == len(booked)


def test_nobody_hears_of_a_charge_that_is_not_as_asked() -> None:
    """Another amount or currency, or money that is given back already: an order that heard of it would be confirmed."""
    for payment, question, reply in CELLS:
        if any(move.after is State.CHARGED and move.tells for move in judge(payment, question, reply).moves):
            assert reply == Answer(Outcome.CHARGED, PRICE)
            assert not (payment.wished and payment.doubted)


def test_nothing_is_undone_while_the_network_may_hold_money() -> None:
    """REFUNDED and VOIDED are reached by answers that say so, never by silence or by what cannot be read."""
    for payment, question, reply in CELLS:
        for move in judge(payment, question, reply).moves:
            if move.after in (State.REFUNDED, State.VOIDED):
                assert isinstance(reply, Answer)
                assert reply.outcome is not Outcome.CHARGED


def test_what_was_booked_ends_at_zero() -> None:
    """A payment that ends undone has every posting of its charge reversed."""
    signs = {"charge": 1, "refund": -1, "correction": -1}
    for payment, question, reply in CELLS:
        moves: tuple[Move, ...] = judge(payment, question, reply).moves
        if moves and moves[-1].after in (State.REFUNDED, State.VOIDED):
            before = 1 if payment.state is State.CHARGED else 0
            assert before + sum(signs[posting] for move in moves for posting in move.postings) == 0


def test_what_is_unclear_and_open_is_tried_again_or_wanted_back() -> None:
    """The reason is noted, so that somebody is called when it lasts."""
    for payment, question, reply in CELLS:
        found = judge(payment, question, reply)
        if found.again and not (isinstance(reply, NoAnswer) and not isinstance(reply, Unclear)):
            assert found.unclear
        if found.wishes:
            assert found.unclear
            assert not payment.wished
