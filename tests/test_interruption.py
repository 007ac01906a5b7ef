"""Ctrl-C once, twice, held back and let through."""

import signal

import pytest

from deepcompress.repro import Interruption

pytestmark = pytest.mark.usefixtures("ctrl_c_is_heard")


def press(number: int = signal.SIGINT) -> None:
    """The signal comes before the next line runs."""
    signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_interrupts_and_others_do_nothing(number: signal.Signals) -> None:
    with Interruption().handled():
        with pytest.raises(KeyboardInterrupt):
            press(number)
        press(signal.SIGINT)
        press(signal.SIGTERM)


def test_what_waited_comes_as_soon_as_it_is_let_through() -> None:
    interruption, seen = Interruption(), []
    with interruption.handled(), pytest.raises(KeyboardInterrupt), interruption.held():
        press()
        with interruption.held(back=False):
            seen.append("never")
    assert not seen


def test_an_error_within_is_told_all_the_same() -> None:
    interruption = Interruption()
    with interruption.handled(), pytest.raises(ValueError, match="why"), interruption.held():
        press()
        raise ValueError("why")


def test_handlers_come_back_and_what_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)
    try:
        with Interruption().handled():
            press()
            with pytest.raises(KeyboardInterrupt):
                press(signal.SIGTERM)
    finally:
        ignored = signal.signal(signal.SIGINT, before[0])
    assert ignored == signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) == before[1]
