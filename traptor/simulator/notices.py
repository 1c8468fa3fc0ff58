"""Everything on a stream that is not a tweet, in Twitter's shapes."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Notice = dict[str, dict[str, Any]]

REASONS = {
    1: "Shutdown",
    2: "Duplicate stream",
    3: "Control request",
    4: "Stall",
    5: "Normal",
    6: "Token revoked",
    7: "Admin logout",
    9: "Max message limit",
    10: "Stream exception",
    11: "Broker stall",
    12: "Shed load",
}
"""The codes of a disconnect message that Twitter documented."""


def limit(track: int) -> Notice:
    """Tweets withheld since the connection opened, by Twitter's word; the key is ``track`` whatever was asked."""
    return {"limit": {"track": track, "timestamp_ms": _now_ms()}}


def disconnect(code: int) -> Notice:
    reason = REASONS.get(code, "Unknown")
    return {"disconnect": {"code": code, "stream_name": "simulator-statuses", "reason": reason}}


def warning(percent_full: int) -> Notice:
    message = "Your connection is falling behind and messages are being queued for delivery to you."
    text = f"{message} Your queue is now over {percent_full}% full. You will be disconnected when the queue is full."
    return {"warning": {"code": "FALLING_BEHIND", "message": text, "percent_full": percent_full}}


def delete(tweet: Mapping[str, Any]) -> Notice:
    author = tweet["user"]
    status = {"id": tweet["id"], "id_str": tweet["id_str"], "user_id": author["id"], "user_id_str": author["id_str"]}
    return {"delete": {"status": status, "timestamp_ms": _now_ms()}}


def scrub_geo(tweet: Mapping[str, Any]) -> Notice:
    """Of this tweet's author, up to this tweet."""
    author = tweet["user"]
    return {
        "scrub_geo": {
            "user_id": author["id"],
            "user_id_str": author["id_str"],
            "up_to_status_id": tweet["id"],
            "up_to_status_id_str": tweet["id_str"],
        }
    }


def status_withheld(tweet: Mapping[str, Any], countries: Sequence[str] = ("DE", "AR")) -> Notice:
    status = {"id": tweet["id"], "user_id": tweet["user"]["id"], "withheld_in_countries": list(countries)}
    return {"status_withheld": status}


def user_withheld(tweet: Mapping[str, Any], countries: Sequence[str] = ("DE", "AR")) -> Notice:
    return {"user_withheld": {"id": tweet["user"]["id"], "withheld_in_countries": list(countries)}}


ABOUT_A_TWEET: dict[str, Callable[[Mapping[str, Any]], Notice]] = {
    "delete": delete,
    "scrub_geo": scrub_geo,
    "status_withheld": status_withheld,
    "user_withheld": user_withheld,
}


def _now_ms() -> str:
    return str(int(time.time() * 1000))
