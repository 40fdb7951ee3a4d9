"""The errors of the client: few, typed, and each message says what to do."""

import re


class RecommenderError(Exception):
    """Any failure of a request to the model server; the base of the others."""

    request_id = ""
    """By which the server's log has the request: the trace's id, or the client's `x-request-id`; empty if none was
    sent."""

    @property
    def line(self) -> str:
        """The message without TensorFlow's own words around it: nodes of the graph, and what an assertion is."""
        line = str(self).partition("\n")[0]
        return re.sub(r"\] \[", " ", re.sub(r"assertion failed: \[(.*?)\]?$", r"\1", line))


class ServerUnavailable(RecommenderError):
    """Nothing answers at the target, or the server is shutting down. Trying again later may help."""


class CircuitOpen(ServerUnavailable):
    """The server has failed so often that it is left alone for a while; nothing was sent."""


class ServerOverloaded(ServerUnavailable):
    """The server has more to do than it can and refused the request at once. Trying again helps after a while."""

    def __init__(self, message: str = "", retry_after: float = 0.0):
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds for which the server wants to be left alone; 0 if it doesn't say."""


class DeadlineExceeded(RecommenderError):
    """No answer within the timeout. Trying again, or a longer timeout, may help."""

    said = ""
    """What the server said, if it has given up before."""


class ModelNotFound(RecommenderError):
    """The server doesn't serve this model, version or label."""


class InvalidRequest(RecommenderError, ValueError):
    """The request is wrong, and would be wrong again."""


class ServerError(RecommenderError):
    """The server failed inside, or what answers isn't a model server that serves a recommender."""


FAILURES = (ServerUnavailable, DeadlineExceeded, ServerError)
"""The server's fault, or the network's; with a right request."""
