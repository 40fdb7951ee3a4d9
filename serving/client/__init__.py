"""The client of a served recommender: no TensorFlow, light to import, Python 3.9 and newer."""

from serving.client.aio import AsyncRecommenderClient
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
from serving.client.tensors import Tensor
from serving.client.traffic import FileFallback, Traffic, TrafficFile

__all__ = [
    "AsyncRecommenderClient",
    "Attempt",
    "Breaker",
    "CircuitOpen",
    "Contribution",
    "DeadlineExceeded",
    "Explanation",
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
