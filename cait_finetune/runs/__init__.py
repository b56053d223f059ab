"""Runs on disk: directory, identity, provenance, resume, and the comparison of runs."""
