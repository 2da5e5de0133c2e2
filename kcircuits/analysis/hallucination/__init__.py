"""The layer where a wrong answer takes the lead, and the nodes that cause it."""
