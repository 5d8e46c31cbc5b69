"""The door to the settings: `load` a file, or `Settings()` for the defaults; explain them.

settings_schema.py      every setting with its description
settings_file.py        from YAML, with file, line and the nearest right thing where it is wrong
settings_reference.py   the reference page and the listing of `check-config`
settings_warnings.py    what is allowed and perhaps not meant
"""

from .settings_file import SettingsError, load, where
from .settings_reference import describe, reference
from .settings_schema import Settings
from .settings_warnings import warnings

__all__ = ["Settings", "SettingsError", "describe", "load", "reference", "warnings", "where"]
