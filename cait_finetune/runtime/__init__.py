"""Process-wide settings and services: threads, memory, compilers, the console, locks."""
