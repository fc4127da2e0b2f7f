"""Takes image jobs from a Redis list and loses none."""
