"""When a reaper may reap, and whom it may blame.

Pure; all times are milliseconds of Redis's own clock.  After an outage every lease looks
expired at once, though its holder lives and will renew it in a moment.  So a reaper first
watches for a whole lease without interruption, and holds no expiry against a holder that
could not have renewed in time.
"""


class Vigil:
    """The unbroken series of our own heartbeats."""

    def __init__(self, lease_ms: int) -> None:
        self._lease_ms = lease_ms
        self._since: int | None = None
        self._last = 0
        self._outage_ended: int | None = None
        self._server_started: int | None = None
        self._interrupted = False

    @property
    def begins(self) -> bool:
        """Say whether the next beat starts a new series."""
        return self._since is None

    def beaten(self, now_ms: int) -> None:
        """Note a heartbeat that Redis answered."""
        if self._since is not None and not 0 <= now_ms - self._last <= self._lease_ms:
            # We were frozen, or Redis's clock jumped: others' leases look wrong to us.
            self.interrupted()
        if self._since is None:
            self._since = now_ms
            if self._interrupted:
                self._outage_ended = now_ms
        self._last = now_ms

    def interrupted(self) -> None:
        """Note that a heartbeat failed: the series is over, and the next one follows an outage."""
        self._since = None
        self._interrupted = True

    def server_started(self, started_ms: int | None) -> None:
        """Note since when Redis runs; None is unknown, and then excuses nobody."""
        self._server_started = started_ms

    def may_reap(self) -> bool:
        """Say whether we have watched for a whole lease."""
        return self._since is not None and self._last - self._since >= self._lease_ms

    def blame_after(self) -> int:
        """Return the deadline up to which an expired lease is nobody's fault.

        A lease with an earlier deadline was last renewed before Redis came (back) up, so its
        holder may have done all it could.
        """
        ends = [end for end in (self._outage_ended, self._server_started) if end is not None]
        return max(ends) + self._lease_ms if ends else 0
