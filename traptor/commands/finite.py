"""Numbers of the command line."""

import math
from typing import Any

import click


class Finite(click.FloatRange):
    """A number in a range; ``nan``, which is in none, and ``inf``, which click takes for numbers, are refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number that can be counted to.", param, ctx)
        return number
