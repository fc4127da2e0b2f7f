"""What the list of results holds of a finished job.

Pure.  It knows the fields of an entry; what is in it was said by the child.
"""

import json

from image_worker import wire

MAX_ENTRY_BYTES = 64 << 10
"""The list is written even when Redis is full, so an entry must not be of any size."""


def entry(job_id: str, done: wire.Done) -> str:
    """Write an entry as JSON; nothing, if nobody asked the child for one."""
    if done.result is None:
        return ""
    head = {"job": job_id, "filename": done.filename, "milliseconds": done.milliseconds}
    whole = json.dumps({**head, **done.result})
    return whole if len(whole) <= MAX_ENTRY_BYTES else json.dumps(head)
