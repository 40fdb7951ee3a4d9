"""Promotion: labels move between versions on all replicas or on none, survive any kill, and leave an audit trail."""

from serving.promotion.comparison import Comparison, Limits, compare
from serving.promotion.errors import PromotionError, PromotionFailed, PromotionLocked, WrongPromotion
from serving.promotion.files import AuditEntry, prune, read_audit
from serving.promotion.promoter import Promoter
from serving.promotion.replica import Replica, every_replica

__all__ = [
    "AuditEntry",
    "Comparison",
    "Limits",
    "Promoter",
    "PromotionError",
    "PromotionFailed",
    "PromotionLocked",
    "Replica",
    "WrongPromotion",
    "compare",
    "every_replica",
    "prune",
    "read_audit",
]
