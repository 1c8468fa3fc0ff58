"""The objects inside a tweet that are not text: its user, photos and place."""

import random
from string import ascii_letters, digits
from typing import Any

from traptor.simulator import phrasebook
from traptor.simulator.snowflakes import created_at
from traptor.tweets.matching import Box

Json = dict[str, Any]


def user(source: random.Random) -> Json:
    """The 38 keys of a user, and often a banner."""
    pick, number = source.choice, source.randrange
    user_id, which = number(10**7, 10**10), number(len(phrasebook.NAMES))
    image = f"pbs.twimg.com/profile_images/{_earlier_id(source)}/{_code(source, 8)}_normal.jpg"
    user: Json = {
        "id": user_id,
        "id_str": str(user_id),
        "name": phrasebook.NAMES[which],
        "screen_name": f"{phrasebook.SCREEN_NAMES[which]}{number(100)}",
        "location": pick([place[0] for place in phrasebook.PLACES] + [None]),
        "url": pick(("https://example.com/about", None)),
        "description": pick(phrasebook.PROFILES),
        "translator_type": "none",
        "protected": False,
        "verified": source.random() < 0.02,
        "followers_count": number(100_000),
        "friends_count": number(5000),
        "listed_count": number(300),
        "favourites_count": number(50_000),
        "statuses_count": number(100_000),
        "created_at": created_at(number(1_170_000_000, 1_600_000_000)),
        "utc_offset": None,
        "time_zone": None,
        "geo_enabled": source.random() < 0.3,
        "lang": None,
        "contributors_enabled": False,
        "is_translator": False,
        "profile_background_color": "F5F8FA",
        "profile_background_image_url": "http://abs.twimg.com/images/themes/theme1/bg.png",
        "profile_background_image_url_https": "https://abs.twimg.com/images/themes/theme1/bg.png",
        "profile_background_tile": False,
        "profile_link_color": "1DA1F2",
        "profile_sidebar_border_color": "C0DEED",
        "profile_sidebar_fill_color": "DDEEF6",
        "profile_text_color": "333333",
        "profile_use_background_image": True,
        "profile_image_url": f"http://{image}",
        "profile_image_url_https": f"https://{image}",
        "default_profile": source.random() < 0.6,
        "default_profile_image": False,
        "following": None,
        "follow_request_sent": None,
        "notifications": None,
    }
    if source.random() < 0.87:
        user["profile_banner_url"] = f"https://pbs.twimg.com/profile_banners/{user_id}/{number(10**9, 16 * 10**8)}"
    return user


def photo(source: random.Random) -> Json:
    media_id, name = _earlier_id(source), _code(source, 15)
    address = f"pbs.twimg.com/media/{name}.jpg"
    return {
        "id": media_id,
        "id_str": str(media_id),
        "media_url": f"http://{address}",
        "media_url_https": f"https://{address}",
        "url": short_link(source),
        "display_url": f"pic.twitter.com/{_code(source, 10)}",
        "expanded_url": f"https://twitter.com/ana_writes/status/{media_id}/photo/1",
        "type": "photo",
        "sizes": {
            "thumb": {"w": 150, "h": 150, "resize": "crop"},
            "small": {"w": 680, "h": 383, "resize": "fit"},
            "medium": {"w": 1200, "h": 675, "resize": "fit"},
            "large": {"w": 2048, "h": 1152, "resize": "fit"},
        },
    }


def place(source: random.Random, name: str, country: str, country_code: str, box: Box) -> Json:
    west, south, east, north = box
    place_id = f"{source.getrandbits(64):016x}"
    corners = [[west, south], [west, north], [east, north], [east, south]]
    return {
        "id": place_id,
        "url": f"https://api.twitter.com/1.1/geo/id/{place_id}.json",
        "place_type": "city",
        "name": name,
        "full_name": f"{name}, {country}",
        "country_code": country_code,
        "country": country,
        "bounding_box": {"type": "Polygon", "coordinates": [corners]},
        "attributes": {},
    }


def short_link(source: random.Random) -> str:
    return f"https://t.co/{_code(source, 10)}"


def _earlier_id(source: random.Random) -> int:
    return source.randrange(10**18, 135 * 10**16)


def _code(source: random.Random, length: int) -> str:
    return "".join(source.choices(ascii_letters + digits, k=length))
