"""The report of a run: figures, tables, and one page with all of them."""
