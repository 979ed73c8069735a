"""Telling people and machines about models and runs."""
