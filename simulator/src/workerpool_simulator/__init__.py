"""Replays traffic through the operator's real decision and through models of its rivals."""
