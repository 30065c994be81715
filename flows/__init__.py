"""Orchestration only: Prefect flows and the command line read, call, write, order and log."""
