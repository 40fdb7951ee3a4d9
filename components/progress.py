"""How a component tells the person at the terminal what it is doing.

A logger rather than a callback, so that executors stay free of the runner: the local runner shows the newest message
beside the running node, a container simply logs it.
"""

import logging

_LOGGER = logging.getLogger("recommender.progress")


def progress(message: str) -> None:
    """Reports `message`, a few words such as "epoch 3 of 20, NDCG@10 0.081"."""
    _LOGGER.info(message)
