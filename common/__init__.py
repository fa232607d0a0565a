"""What every room of the house may use and that uses none of them: errors, hashing, paths, text."""
