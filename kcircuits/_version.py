"""The version, in one place: which the package's metadata, `kcircuits.__version__` and `--version` take."""

__version__ = "0.2.0"
