"""What a component says on its way."""

from __future__ import annotations

import logging

import pytest

from components.progress import progress


def test_messages_reach_the_logger_that_runners_listen_to(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="recommender.progress"):
        progress("epoch 3 of 20")
    assert caplog.record_tuples == [("recommender.progress", logging.INFO, "epoch 3 of 20")]
