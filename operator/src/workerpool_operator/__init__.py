"""Scales worker Deployments on Redis queue depth."""
