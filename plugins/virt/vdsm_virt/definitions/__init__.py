"""What is done to the definitions of machines that exist: start, edit, rename, adopt."""
