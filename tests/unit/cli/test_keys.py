import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_worker.errors import ConfigError
from image_worker.keys import keys_of as worker_keys_of
from workerpool_cli.errors import UsageError
from workerpool_cli.keys import Keys, keys_of


def names(keys: Keys) -> tuple[str, ...]:
    return (
        *(keys.list, keys.jobs, keys.inflight, keys.retry, keys.dead, keys.workers, keys.stats),
        *(keys.landing, keys.record("w")),
    )


@given(
    st.sampled_from(("{q}", "q"))
    | st.text(alphabet="aq:{} \n", max_size=12)
    | st.text(max_size=520)
)
def test_the_tool_and_the_worker_agree_on_every_name(list_name: str) -> None:
    try:
        worker = worker_keys_of(list_name)
    except ConfigError:
        with pytest.raises(UsageError):
            keys_of(list_name)
    else:
        expected = (*worker.shared, worker.landing, worker.record("w"))
        assert names(keys_of(list_name)) == expected
