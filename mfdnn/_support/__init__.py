"""What every room uses: checks, results, errors, memory, files. No theory."""
