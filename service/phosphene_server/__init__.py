"""Phosphene: a service that shows what a neural network looks for.

See `docs/architecture.md` for the plan of this package.
"""
