"""The errors of promotion."""


class PromotionError(Exception):
    """Base of the others; the message names the culprit and the fix."""


class WrongPromotion(PromotionError, ValueError):
    """What was asked for can't be: no such version, a label in the way, a file that can't be read. Nothing was done."""


class PromotionLocked(WrongPromotion):
    """Another promotion is under way. Nothing was done."""


class PromotionFailed(PromotionError):
    """A replica, or the version itself, failed; the message says whether everything is as it was before."""


class ReplicaDown(PromotionFailed):
    """A replica doesn't answer."""
