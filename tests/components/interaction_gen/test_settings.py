"""InteractionGen's settings."""

import pydantic
import pytest

from components.interaction_gen.settings import InteractionSettings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colums": {}}, "colums"),
        ({"event_weights": {"buy": 1}}, "needs columns.event"),
        ({"event_weights": {"buy": 0}, "columns": {"event": "e"}}, "a weight is above 0"),
        ({"event_weights": {"buy": -2e6}, "columns": {"event": "e"}}, "greater than or equal to -1000000"),
        ({"never_again": ["hide"]}, "never_again needs columns.event"),
        (
            {"never_again": ["hide"], "event_weights": {"hide": 1}, "columns": {"event": "e"}},
            "'hide' has a weight above 0",
        ),
        ({"min_rating": 4}, "needs columns.rating"),
        ({"drop_unrated": True}, "drop_unrated needs columns.rating"),
        ({"rating_weights": {5: 1}}, "rating_weights needs columns.rating"),
        ({"rating_weights": {5: 0}, "columns": {"rating": "r"}}, "a weight is above 0"),
        ({"rating_weights": {"good": 1}, "columns": {"rating": "r"}}, "valid number"),
        ({"history": {"ties": "file"}}, "'exclude' or 'log_order'"),
        ({"delimiter": ""}, "one character or more"),
        ({"features": {"history": {"type": "number"}}}, "reserved"),
        ({"features": {"a b": {"type": "number"}}}, "letters, digits"),
        ({"features": {"x": {"type": "text", "min": 1}}}, "min and max are for features of type number"),
        ({"features": {"x": {"type": "number"}}, "users": {"features": {"x": {"type": "number"}}}}, "both have x"),
        ({"split": {"method": "files"}}, "eval_path is needed"),
        ({"split": {"eval_fraction": 1.0}}, "less than 1"),
        ({"weight_transform": "log"}, "needs columns.weight"),
        ({"separator": " "}, "set spread: true"),
        ({"half_life": 30, "columns": {"timestamp": None}}, "half_life needs columns.timestamp"),
        ({"earliest_year": 1990, "columns": {"timestamp": None}}, "earliest_year needs columns.timestamp"),
        ({"half_life": 0}, "greater than 0"),
        ({"max_user_events": 0}, "greater than or equal to 1"),
        ({"top_users": 0}, "greater than or equal to 1"),
        ({"deduplicate": "item"}, "user_item"),
        ({"rating_range": [5, 1], "columns": {"rating": "r"}}, "lowest and the highest"),
    ],
)
def test_settings_that_make_no_sense(options, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        InteractionSettings.model_validate(options)
