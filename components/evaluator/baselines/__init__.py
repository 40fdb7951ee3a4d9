"""Simple recommenders that a model must beat: fitted to the training events, asked the queries that the model is asked.

The config imports this package for its settings, so NumPy and SciPy are imported where they are needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from components.evaluator.baselines.settings import NAMES, BaselineSettings
from components.progress import progress

if TYPE_CHECKING:
    from components.evaluator.baselines.base import Baseline, TrainingEvents

__all__ = ["NAMES", "BaselineSettings", "fit", "load", "save"]


def fit(settings: BaselineSettings, events: TrainingEvents) -> dict[str, Baseline]:
    """Fits the baselines, in the order of `settings.names`.

    Raises:
        InputError: one needs a package that is not installed.
    """
    kinds = _kinds()
    fitted: dict[str, Baseline] = {}
    for name in settings.names:
        progress(f"fitting the baseline {name}")
        fitted[name] = kinds[name].fit(settings, events)
    return fitted


def save(baselines: dict[str, Baseline], directory: str) -> None:
    """Writes baselines to a local directory, each into a folder of its name and an array into a file."""
    import numpy as np
    from scipy import sparse

    for name, baseline in baselines.items():
        folder = Path(directory, name)
        folder.mkdir(parents=True)
        for field, array in vars(baseline).items():
            if sparse.issparse(array):
                sparse.save_npz(folder / f"{field}.npz", array, compressed=False)
            else:
                np.save(folder / f"{field}.npy", array)


def load(directory: str) -> dict[str, Baseline]:
    """Reads what `save` wrote, in the order of `NAMES`.

    Dense arrays stay on the disk until they are used, and processes share them.
    """
    import numpy as np
    from scipy import sparse

    baselines = {}
    for name, kind in _kinds().items():
        arrays = {
            file.stem: sparse.load_npz(file) if file.suffix == ".npz" else np.asarray(np.load(file, mmap_mode="r"))
            for file in Path(directory, name).glob("*")
        }
        if arrays:
            baselines[name] = kind(**arrays)
    return baselines


def _kinds() -> dict[str, type[Baseline]]:
    from components.evaluator.baselines.content import Content
    from components.evaluator.baselines.ease import Ease
    from components.evaluator.baselines.ials import Ials
    from components.evaluator.baselines.item_knn import ItemKnn
    from components.evaluator.baselines.markov import Markov
    from components.evaluator.baselines.popularity import Popularity, RecentPopularity

    return {
        "popularity": Popularity,
        "recent_popularity": RecentPopularity,
        "item_knn": ItemKnn,
        "ease": Ease,
        "markov": Markov,
        "content": Content,
        "ials": Ials,
    }
