import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """The version that the package states, read without importing it."""
    found = re.search(r'^__version__ = "(.+)"$', (HERE / "traptor/__init__.py").read_text(), re.MULTILINE)
    assert found, "traptor/__init__.py states no __version__"
    return found[1]


def requirements() -> list[str]:
    """The lines of requirements.txt, without comments."""
    lines = (HERE / "requirements.txt").read_text().splitlines()
    return [text for line in lines if (text := line.partition("#")[0].strip())]


setup(
    name="traptor",
    version=version(),
    description="Collects tweets by rules in Redis and delivers them, enriched, to Kafka",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The Traptor authors",
    license="MIT",
    classifiers=[f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)],
    python_requires=">=3.11",
    packages=find_packages(include=["traptor", "traptor.*"]),
    package_data={
        "traptor": ["py.typed", "pages.css"],
        "traptor.archives": ["report.html"],
        "traptor.fleet": ["page.css", "page.html", "page.js"],
        "traptor.store": ["*.sql"],
        "traptor.store.search": ["*.json"],
    },
    install_requires=requirements(),
    extras_require={
        "fast": ["confluent-kafka>=2.6.1,<3"],  # from 2.6.1 on with wheels for Python 3.13
        "postgresql": ["psycopg[binary]>=3.2,<4"],  # `traptor store postgresql://…`
        "parquet": ["pyarrow>=17,<30"],  # `traptor export --format parquet`
    },
    entry_points={"console_scripts": ["traptor=traptor.cli:main"]},
)
