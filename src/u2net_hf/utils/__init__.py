"""What every room may use: files written whole, the console, the process, packaged files."""
