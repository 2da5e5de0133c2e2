"""Sections of the report, one file each: a function from results to HTML."""
