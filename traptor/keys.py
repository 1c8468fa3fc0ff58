"""Every Redis key and channel message, built and parsed."""

from datetime import datetime


def rule(traptor_type: str, traptor_id: int | str, rule_id: int | str) -> str:
    return f"traptor-{traptor_type}:{traptor_id}:{rule_id}"


def rules(traptor_type: str, traptor_id: int | str) -> str:
    """The pattern that finds all rules of one Traptor."""
    return rule(traptor_type, traptor_id, "*")


def rule_id(rule_key: str) -> str:
    """The rule_id in a rule's key; it may hold colons itself."""
    return rule_key.split(":", 2)[2]


def heartbeat(traptor_type: str, traptor_id: int | str, now: datetime) -> str:
    """``now`` in UTC."""
    return f"{traptor_type}:{traptor_id}:{now:%Y%m%d%H%M%S}"


def stats(traptor_type: str, traptor_id: int | str, rule_id: str) -> str:
    return f"stats:{traptor_type}:{traptor_id}:{rule_id}"


def limit(traptor_type: str, traptor_id: int | str) -> str:
    return f"limit:{traptor_type}:{traptor_id}"


def status(traptor_type: str, traptor_id: int | str) -> str:
    return f"traptor:status:{traptor_type}:{traptor_id}"


def notice(traptor_type: str, traptor_id: int | str) -> str:
    """What is published on the notify channel when the rules of one Traptor have changed."""
    return f"{traptor_type}:{traptor_id}"


def is_notice_for(payload: object, traptor_type: str, traptor_id: int | str) -> bool:
    """Does this payload of the channel, whatever it is, speak of this Traptor?"""
    if isinstance(payload, bytes):
        payload = payload.decode("utf-8", "replace")
    return isinstance(payload, str) and payload.strip() == notice(traptor_type, traptor_id)
