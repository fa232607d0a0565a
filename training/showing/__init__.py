"""A sample's captured teacher rows in words, for people. No torch is needed, and none imported."""
