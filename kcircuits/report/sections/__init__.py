"""The parts of a report, one file each: a function from results to HTML."""
