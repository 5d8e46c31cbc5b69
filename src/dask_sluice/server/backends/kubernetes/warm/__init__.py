"""Schedulers that wait, as nobody's, for somebody who needs one (decision 0035)."""
