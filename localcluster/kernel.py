"""Kernel settings of the whole machine that a kubelet changes: remembered, and put back."""

import json
from pathlib import Path

from localcluster.files import write_whole
from localcluster.layout import RUN

# What kubelet sets when it starts (pkg/kubelet/cm, setupKernelTunables).
_CHANGED_BY_KUBELET = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_SETTINGS = Path("/proc/sys")
_RECORD = RUN / "kernel-settings.json"


def remember() -> None:
    """Write the settings down, unless an earlier start already did."""
    if _RECORD.exists():
        return
    found = {
        name: (_SETTINGS / name).read_text().strip()
        for name in _CHANGED_BY_KUBELET
        if (_SETTINGS / name).exists()
    }
    write_whole(_RECORD, json.dumps(found))


def restore() -> None:
    """Put back what was remembered; nothing if nothing was."""
    if not _RECORD.exists():
        return
    for name, value in json.loads(_RECORD.read_text()).items():
        setting = _SETTINGS / name
        # In a container they may be read-only, and then nobody has changed them.
        if setting.read_text().strip() != value:
            setting.write_text(value)
