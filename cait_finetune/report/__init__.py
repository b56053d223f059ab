"""What a run has to show: pictures, tables, and the page that holds them all."""
