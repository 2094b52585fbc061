"""A shim, since Beam's `--setup_file` wants a file of this name; everything is in pyproject.toml."""

from setuptools import setup

setup()
