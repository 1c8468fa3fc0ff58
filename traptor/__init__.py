"""Traptor: a distributed Twitter feed."""

__version__ = "1.0.0"
