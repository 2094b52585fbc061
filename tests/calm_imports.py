"""Imports Beam once with Google's warnings about one another's versions left out; `error` would make them failures of ours."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import apache_beam  # noqa: F401
