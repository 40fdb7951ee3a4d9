"""Simple recommenders that a model must beat: fitted to the training events, asked the queries that the model is asked.

The config imports this package for its settings, so NumPy and SciPy are imported where they are needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.evaluator.baselines.settings import NAMES, BaselineSettings
from components.progress import progress

if TYPE_CHECKING:
    from components.evaluator.baselines.base import Baseline, TrainingEvents

__all__ = ["NAMES", "BaselineSettings", "fit", "load", "save"]


def fit(settings: BaselineSettings, events: TrainingEvents, without_history: bool = True) -> dict[str, Baseline]:
    """Fits the baselines, in the order of `settings.names`.

    Args:
        settings: Which, and how.
        events: The training events.
        without_history: Whether what a user had is left out where values of parameters are compared.

    Raises:
        InputError: one needs a package that is not installed.
    """
    from components.evaluator.baselines.blend import Blend
    from components.evaluator.baselines.choice import chosen

    kinds = _kinds()
    settings = chosen(settings, events, lambda name, *of: kinds[name].fit(*of), without_history)
    parts: dict[str, Any] = {}

    def part(name: str) -> Any:
        if name not in parts:
            progress(f"fitting the baseline {name}")
            if name == "blend":
                parts[name] = Blend.of(part("ease"), part("sequential_knn"), settings)
            else:
                parts[name] = kinds[name].fit(settings, events)
        return parts[name]

    return {name: part(name) for name in settings.names}


def save(baselines: dict[str, Baseline], directory: str) -> None:
    """Writes baselines to a local directory, each into a folder of its name and an array into a file.

    An array that several have is written once.
    """
    import numpy as np
    from scipy import sparse

    written: dict[int, Path] = {}
    for name, baseline in baselines.items():
        folder = Path(directory, name)
        folder.mkdir(parents=True)
        for field, array in vars(baseline).items():
            file = folder / f"{field}.np{'z' if sparse.issparse(array) else 'y'}"
            if id(array) in written:
                file.symlink_to(written[id(array)].absolute())
            elif sparse.issparse(array):
                sparse.save_npz(file, array, compressed=False)
            else:
                np.save(file, array)
            written.setdefault(id(array), file)


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
    from components.evaluator.baselines.blend import Blend
    from components.evaluator.baselines.content import Content
    from components.evaluator.baselines.ease import Ease
    from components.evaluator.baselines.ials import Ials
    from components.evaluator.baselines.item_knn import ItemKnn
    from components.evaluator.baselines.markov import Markov
    from components.evaluator.baselines.popularity import Popularity, RecentPopularity
    from components.evaluator.baselines.sequential_knn import SequentialKnn
    from components.evaluator.baselines.session_knn import SessionKnn
    from components.evaluator.baselines.slit import Slit

    return {
        "popularity": Popularity,
        "recent_popularity": RecentPopularity,
        "item_knn": ItemKnn,
        "ease": Ease,
        "markov": Markov,
        "sequential_knn": SequentialKnn,
        "slit": Slit,
        "session_knn": SessionKnn,
        "blend": Blend,
        "content": Content,
        "ials": Ials,
    }
