"""Build the root distribution: the core and the bridge. Metadata stands in pyproject.toml."""

from setuptools import setup

setup()
