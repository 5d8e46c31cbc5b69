"""Tests of the whole, with a real browser."""

from ..browser import browser_page, chromium, page

__all__ = ["browser_page", "chromium", "page"]
