"""Image files in folders or tables: found, checked, divided."""
