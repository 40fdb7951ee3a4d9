"""Configs as text."""

from __future__ import annotations

import yaml

from pipeline.data.init.draft import Draft


def test_keys_values_and_reasons() -> None:
    draft = Draft()
    draft.put("name", "shop")
    draft.put("data.interactions.path", "log, [1] #2.csv")
    draft.put("data.interactions.delimiter", "\t", "because\nof tabs")
    draft.put("data.interactions.columns.user_id", "who: 'x'", "named so")
    draft.put("data.interactions.columns.timestamp", None)
    draft.put("data.interactions.missing", ["NA", "\\N"])
    draft.put("data.catalogue.features.a", {"type": "category"}, "few")
    draft.put("data.catalogue.features.b", {"type": "text"})
    draft.put("evaluation.thresholds", {"ndcg@10": {"beat_popularity": True}}, "why not")
    text = draft.text("made of\nfiles")
    assert (
        text
        == """\
# made of
# files
name: shop

data:
  interactions:
    path: 'log, [1] #2.csv'
    delimiter: "\\t" # because of tabs
    columns:
      user_id: 'who: ''x''' # named so
      timestamp: null
    missing: [NA, \\N]
  catalogue:
    features:
      a: {type: category} # few
      b: {type: text}

evaluation:
  thresholds: # why not
    ndcg@10: {beat_popularity: true}
"""
    )
    assert yaml.safe_load(text) == draft.content
    assert next(draft.guesses()) == ("data.interactions.delimiter", "\t", "because\nof tabs")


def test_comments_show_what_yaml_does_not_take() -> None:
    draft = Draft()
    draft.put("name", "shop\x1a", "such as \x1a\0\ufdd0\ud83d\u2028 \U0001f3ac")
    assert yaml.safe_load(draft.text("made of \x1b[1m")) == {"name": "shop\x1a"}
    assert "such as \ufffd\ufffd\ufdd0\ufffd \U0001f3ac" in draft.text("")
