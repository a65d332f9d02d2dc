"""How sure a number is, and what others published: bootstrap, seeds, published."""
