"""Data sets as people have them: one file a set or family of layouts."""
