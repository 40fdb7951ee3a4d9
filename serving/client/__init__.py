"""The client of a served recommender: no TensorFlow, light to import, Python 3.9 and newer."""

from serving.client.client import Query, RecommenderClient
from serving.client.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    RecommenderError,
    ServerError,
    ServerUnavailable,
)
from serving.client.results import (
    ItemDescription,
    ModelMetadata,
    Recommendation,
    RecommendationList,
    Signature,
    SimilarItems,
    TensorSpec,
    VersionStatus,
)
from serving.client.tensors import Tensor

__all__ = [
    "DeadlineExceeded",
    "InvalidRequest",
    "ItemDescription",
    "ModelMetadata",
    "ModelNotFound",
    "Query",
    "Recommendation",
    "RecommendationList",
    "RecommenderClient",
    "RecommenderError",
    "ServerError",
    "ServerUnavailable",
    "Signature",
    "SimilarItems",
    "Tensor",
    "TensorSpec",
    "VersionStatus",
]
