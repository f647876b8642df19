"""The shop's version, as `pyproject.toml` has it: what traces and the OpenAPI document name."""

VERSION = "0.1.0"
