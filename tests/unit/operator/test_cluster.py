"""What is asked of the API server, in its own words."""

import pytest

from workerpool_operator.cluster import label_query


@pytest.mark.parametrize(
    ("selector", "query"),
    [
        ({"matchLabels": {"app": "legacy", "tier": "web"}}, "app=legacy,tier=web"),
        (
            {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]},
            "app in (a,b)",
        ),
        (
            {
                "matchLabels": {"app": "a"},
                "matchExpressions": [
                    {"key": "tier", "operator": "NotIn", "values": ["web"]},
                    {"key": "old", "operator": "DoesNotExist"},
                    {"key": "new", "operator": "Exists"},
                ],
            },
            "app=a,tier notin (web),!old,new",
        ),
    ],
)
def test_a_selector_is_sent_whole(selector: dict[str, object], query: str) -> None:
    """With a part of it, pods of others would be taken for the Deployment's."""
    assert label_query(selector) == query
