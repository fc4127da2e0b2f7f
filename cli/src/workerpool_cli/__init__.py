"""The `workerpool` command: push, status, dead, drain, resume."""
