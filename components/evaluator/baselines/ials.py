"""iALS: matrix factorisation of who had what, by weighted least squares in turn for users and items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from components.errors import InputError
from components.evaluator.baselines.base import Ragged, TrainingEvents
from components.evaluator.baselines.settings import NO_IMPLICIT, BaselineSettings

_SEED = 0


@dataclass(frozen=True)
class Ials:
    """An item's score is the dot product of its vector and one that is solved for from the history.

    With Y [N, F] the vectors of items, and those of the history H [L, F], the query's vector is
    (Y^T Y + (alpha - 1) H^T H + regularization I)^-1 alpha H^T 1, the same least squares as in training.

    Source: Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", 2008.
    """

    items: np.ndarray
    """[N, F] float32."""
    regularized: np.ndarray
    """[F, F] float32, Y^T Y + regularization I."""
    alpha: np.ndarray
    """[] float32."""

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
                alpha=settings.ials_alpha,
                iterations=settings.ials_iterations,
                use_gpu=False,
                random_state=_SEED,
            )
            model.fit(sparse.csr_matrix(events.matrix()), show_progress=False)
        items = model.item_factors
        regularized = items.T @ items + settings.ials_regularization * np.eye(items.shape[1], dtype=np.float32)
        return cls(items, regularized, np.array(settings.ials_alpha, np.float32))

    def scores(self, histories: Ragged) -> np.ndarray:
        """See `Baseline.scores`."""
        values, offsets = histories
        lengths = np.diff(offsets)
        query = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(len(values)) - np.repeat(offsets[:-1], lengths)
        history = np.zeros((len(lengths), lengths.max(initial=0), self.items.shape[1]), np.float32)
        history[query, place] = self.items[values]
        system = self.regularized + (self.alpha - 1) * (history.transpose(0, 2, 1) @ history)
        target = self.alpha * history.sum(axis=1)
        vector = np.linalg.solve(system, target[..., np.newaxis])[..., 0]
        return vector @ self.items.T
