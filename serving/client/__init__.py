"""The client of a served recommender: no TensorFlow, light to import, Python 3.9 and newer."""

from serving.client.aio import AsyncRecommenderClient
from serving.client.answer_log import AnswerLog
from serving.client.calls import Query
from serving.client.client import RecommenderClient
from serving.client.engine import Attempt, Interceptor
from serving.client.errors import (
    CircuitOpen,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    RecommenderError,
    ServerError,
    ServerOverloaded,
    ServerUnavailable,
)
from serving.client.exploration import Exploration
from serving.client.metrics import Histogram, Metrics, Snapshot
from serving.client.policies import Breaker, Hedge, Retry, Tls
from serving.client.results import (
    Contribution,
    Explanation,
    ItemDescription,
    ItemVector,
    ModelMetadata,
    QueryVector,
    Recommendation,
    RecommendationList,
    ScoredUser,
    Signature,
    SimilarItems,
    TensorSpec,
    UserList,
    VersionStatus,
)
from serving.client.sharded import AsyncShardedClient, ShardedClient
from serving.client.tensors import Tensor
from serving.client.traffic import FileFallback, Traffic, TrafficFile

__all__ = [
    "AnswerLog",
    "AsyncRecommenderClient",
    "AsyncShardedClient",
    "Attempt",
    "Breaker",
    "CircuitOpen",
    "Contribution",
    "DeadlineExceeded",
    "Explanation",
    "Exploration",
    "FileFallback",
    "Hedge",
    "Histogram",
    "Interceptor",
    "InvalidRequest",
    "ItemDescription",
    "ItemVector",
    "Metrics",
    "ModelMetadata",
    "ModelNotFound",
    "Query",
    "QueryVector",
    "Recommendation",
    "RecommendationList",
    "RecommenderClient",
    "RecommenderError",
    "Retry",
    "ScoredUser",
    "ServerError",
    "ServerOverloaded",
    "ServerUnavailable",
    "ShardedClient",
    "Signature",
    "SimilarItems",
    "Snapshot",
    "Tensor",
    "TensorSpec",
    "Tls",
    "Traffic",
    "TrafficFile",
    "UserList",
    "VersionStatus",
]
