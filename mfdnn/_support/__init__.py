"""What every room uses and no theory is in: checks of arguments, results, errors, memory, files."""
