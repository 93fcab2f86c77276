"""Proofs with real processes that are really killed."""
