"""Read and write weights by timm's names: one module for each format; `load` assigns them to models."""
