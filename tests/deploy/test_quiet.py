"""Chatter is dropped inside, warnings are not, and afterwards all is as it was."""

from __future__ import annotations

import logging

import pytest

from deepcompress.deploy.quiet import quiet


def test_only_warnings_are_told_inside(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="chatty")
    logger = logging.getLogger("chatty")
    with quiet("chatty"):
        logger.info("step 1")
        logger.warning("careful")
    logger.info("done")
    assert caplog.messages == ["careful", "done"]


def test_the_level_comes_back_after_an_error() -> None:
    logging.getLogger("chatty").setLevel(logging.DEBUG)
    with pytest.raises(RuntimeError), quiet("chatty"):
        raise RuntimeError
    assert logging.getLogger("chatty").level == logging.DEBUG
