"""HTML pages that are opened from the disk: what reports and timelines have in common, and the rules for both."""
