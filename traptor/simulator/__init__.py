"""A Twitter of our own, for tests, demonstrations and rehearsals: real HTTP, OAuth checked, faults on demand."""

from traptor.simulator.connection import Connection
from traptor.simulator.oauth import CREDENTIAL, Credential
from traptor.simulator.server import Simulator

__all__ = ["CREDENTIAL", "Connection", "Credential", "Simulator"]
