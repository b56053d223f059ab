"""Find, check and divide image files in folders or tables."""
