"""What the model server is measured against: the same SavedModel behind FastAPI, as one would write it by hand.

MODEL=output/models/x/1 python -m uvicorn benchmarks.serving_fastapi:app
"""

import os

import tensorflow as tf
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = tf.saved_model.load(os.environ["MODEL"])
recommend = model.signatures["recommend"]


class Query(BaseModel):
    """Whom to recommend something."""

    user_id: str = ""
    history: list[str] = []
    exclude: list[str] = []
    k: int = 10


class Item(BaseModel):
    """A recommended item."""

    item_id: str
    score: float


class Answer(BaseModel):
    """The best items, best first."""

    items: list[Item]
    source: str


@app.post("/recommend")
def answer(query: Query) -> Answer:
    """Runs in FastAPI's pool of threads, because TensorFlow blocks."""
    found = recommend(
        user_id=tf.constant([query.user_id]),
        history=tf.constant([query.history], tf.string, shape=[1, len(query.history)]),
        exclude=tf.constant([query.exclude], tf.string, shape=[1, len(query.exclude)]),
        k=tf.constant(query.k),
    )
    ids, scores = found["item_ids"].numpy()[0].tolist(), found["scores"].numpy()[0].tolist()
    items = [Item(item_id=item.decode(), score=score) for item, score in zip(ids, scores) if item]
    return Answer(items=items, source=found["source"].numpy()[0].decode())
