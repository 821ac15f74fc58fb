"""argv, stdout, exit codes."""
