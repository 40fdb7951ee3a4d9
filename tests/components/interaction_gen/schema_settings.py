"""Settings with a feature of each kind."""

from components.interaction_gen.settings import InteractionSettings

SETTINGS = InteractionSettings.model_validate(
    {
        "columns": {"rating": "stars", "event": "kind"},
        "rating_range": [1, 5],
        "event_weights": {"buy": 2, "view": 1},
        "features": {
            "price": {"type": "number", "min": 0},
            "channel": {"type": "category", "values": ["web", "app"]},
            "tags": {"type": "categories"},
        },
        "users": {"features": {"about": {"type": "text"}}},
    }
)
