"""Where a tweet was posted, as v1.1 has it."""

from typing import Any

from traptor.sources.v2.payload import Geo, Includes, Place


def located(geo: Geo | None, includes: Includes) -> dict[str, Any]:
    """Points are longitude, latitude; in ``geo``, which v1.1 had long deprecated, the other way round."""
    point = geo.coordinates.coordinates if geo and geo.coordinates else None
    place = includes.places.get(geo.place_id or "") if geo else None
    return {
        "geo": {"type": "Point", "coordinates": point[::-1]} if point else None,
        "coordinates": {"type": "Point", "coordinates": point} if point else None,
        "place": _place(place) if place else None,
    }


def _place(place: Place) -> dict[str, Any]:
    names = ("id", "place_type", "name", "full_name", "country_code", "country")
    return {
        **{name: getattr(place, name) for name in names},
        "url": f"https://api.twitter.com/1.1/geo/id/{place.id}.json",
        "bounding_box": {"type": "Polygon", "coordinates": [_corners(*place.geo.bbox)]} if place.geo else None,
        "attributes": {},
    }


def _corners(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [west, north], [east, north], [east, south]]
