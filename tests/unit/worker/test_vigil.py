from image_worker.vigil import Vigil

LEASE = 15_000


def beaten(vigil: Vigil, start: int, seconds: int, step: int = 5) -> None:
    for second in range(0, seconds + 1, step):
        vigil.beaten(start + second * 1000)


def test_a_reaper_watches_for_a_whole_lease_first() -> None:
    vigil = Vigil(LEASE)
    assert not vigil.may_reap()
    beaten(vigil, 1_000_000, 10)
    assert not vigil.may_reap()
    vigil.beaten(1_015_000)
    assert vigil.may_reap()


def test_an_outage_makes_it_watch_anew() -> None:
    vigil = Vigil(LEASE)
    beaten(vigil, 1_000_000, 60)
    vigil.interrupted()
    assert not vigil.may_reap()
    beaten(vigil, 1_100_000, 10)
    assert not vigil.may_reap()
    vigil.beaten(1_115_000)
    assert vigil.may_reap()


def test_a_lease_that_could_not_be_renewed_in_an_outage_blames_nobody() -> None:
    vigil = Vigil(LEASE)
    beaten(vigil, 1_000_000, 60)
    vigil.interrupted()
    beaten(vigil, 1_100_000, 60)
    last_deadline_before_the_outage = 1_100_000 + LEASE
    assert vigil.blame_after() == last_deadline_before_the_outage


def test_a_fresh_reaper_blames_who_fell_silent_before_it_came() -> None:
    # Else a job that kills whole pods would never be found out.
    vigil = Vigil(LEASE)
    beaten(vigil, 1_000_000, 60)
    assert vigil.blame_after() == 0


def test_a_restart_of_redis_excuses_whoever_could_not_renew() -> None:
    vigil = Vigil(LEASE)
    vigil.server_started(990_000)
    beaten(vigil, 1_000_000, 60)
    assert vigil.blame_after() == 990_000 + LEASE
    vigil.server_started(None)
    assert vigil.blame_after() == 0


def test_a_frozen_reaper_does_not_trust_its_own_view() -> None:
    vigil = Vigil(LEASE)
    beaten(vigil, 1_000_000, 60)
    vigil.beaten(1_060_000 + LEASE + 1)
    assert not vigil.may_reap()
    assert vigil.blame_after() == 1_060_000 + LEASE + 1 + LEASE


def test_a_clock_that_jumps_either_way_reaps_nobody() -> None:
    for jump in (-3_600_000, 3_600_000):
        vigil = Vigil(LEASE)
        beaten(vigil, 10_000_000, 60)
        vigil.beaten(10_060_000 + jump)
        assert not vigil.may_reap()
