"""iALS: matrix factorisation of who had what, by weighted least squares in turn for users and items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from components.closed_forms.histories import Ragged, power
from components.errors import InputError
from components.evaluator.baselines.base import TrainingEvents
from components.evaluator.baselines.settings import NO_IMPLICIT, BaselineSettings

_SEED = 0


@dataclass(frozen=True)
class Ials:
    """An item's score is the dot product of its vector and one that is solved for from the history.

    The newer an item of the history is, the more confidence there is in it: c = alpha (place + 1)^-exponent. With Y
    [N, F] the vectors of items, and those of the history H [L, F], the query's vector is
    (Y^T Y + H^T diag(c - 1) H + regularization I)^-1 H^T c, the same least squares as in training.

    Source: Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", 2008.
    """

    items: np.ndarray
    """[N, F] float32."""
    regularized: np.ndarray
    """[F, F] float32, Y^T Y + regularization I."""
    alpha: np.ndarray
    """[] float32."""
    exponent: np.ndarray
    """[] float32, of the weights of places, see `power`."""

    @classmethod
    def fit(cls, settings: BaselineSettings, events: TrainingEvents) -> Ials:
        """Trains with the package `implicit`.

        Raises:
            InputError: it is not installed.
        """
        try:
            import threadpoolctl
            from implicit.als import AlternatingLeastSquares
        except ImportError as error:
            raise InputError(f"{NO_IMPLICIT} ({error})") from error
        # Its own threads and those of the linear algebra would get into each other's way.
        with threadpoolctl.threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=settings.ials_factors,
                regularization=settings.ials_regularization,
                alpha=1.0,
                iterations=settings.ials_iterations,
                use_gpu=False,
                random_state=_SEED,
            )
            model.fit(sparse.csr_matrix(_confidence(settings, events)), show_progress=False)
        items = model.item_factors
        regularized = items.T @ items + settings.ials_regularization * np.eye(items.shape[1], dtype=np.float32)
        alpha, exponent = settings.ials_alpha, settings.ials_exponent
        return cls(items, regularized, np.array(alpha, np.float32), np.array(exponent, np.float32))

    def scores(self, histories: Ragged) -> np.ndarray:
        """See `Baseline.scores`."""
        values, offsets = histories
        lengths = np.diff(offsets)
        query = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(len(values)) - np.repeat(offsets[:-1], lengths)
        history = np.zeros((len(lengths), lengths.max(initial=0), self.items.shape[1]), np.float32)
        history[query, place] = self.items[values]
        confidence = np.zeros((*history.shape[:2], 1), np.float32)
        confidence[query, place, 0] = self.alpha * power(self.exponent)(place)
        system = self.regularized + ((confidence - 1) * history).transpose(0, 2, 1) @ history
        target = (confidence * history).sum(axis=1)
        vector = np.linalg.solve(system, target[..., np.newaxis])[..., 0]
        return vector @ self.items.T


def _confidence(settings: BaselineSettings, events: TrainingEvents) -> sparse.csr_array:
    """How sure it is that users like items [U, N] float32, by the newest event of each pair."""
    newest = np.unique((events.user.astype(np.int64) * events.num_items + events.item)[::-1], return_index=True)[1]
    rows = len(events.user) - 1 - newest
    value = settings.ials_alpha * power(settings.ials_exponent)(events.places()[rows])
    shape = (events.num_users, events.num_items)
    return sparse.coo_array((value.astype(np.float32), (events.user[rows], events.item[rows])), shape).tocsr()
