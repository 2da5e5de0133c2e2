"""Where a wrong answer overtakes the right one."""
