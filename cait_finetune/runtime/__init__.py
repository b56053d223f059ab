"""What is the whole process': threads, memory, compilers, the console, locks."""
