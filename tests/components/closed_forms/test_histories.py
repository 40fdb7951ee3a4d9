"""What the items of a history count."""

from __future__ import annotations

import numpy as np

from components.closed_forms.histories import half_life, history_matrix, power


def test_items_of_a_history_count_by_their_place() -> None:
    histories = np.array([2, 0, 1, 2, 0]), np.array([0, 2, 2, 5])
    assert history_matrix(histories, 3).toarray().tolist() == [[1, 0, 1], [0, 0, 0], [1, 1, 1]]
    fading = history_matrix(histories, 3, half_life(2)).toarray()
    np.testing.assert_allclose(fading, [[2**-0.5, 0, 1], [0, 0, 0], [0.5, 1, 2**-0.5]], rtol=1e-6)
    slower = history_matrix(histories, 3, power(0.75)).toarray()
    np.testing.assert_allclose(slower[2], [3**-0.75, 1, 2**-0.75], rtol=1e-6)
