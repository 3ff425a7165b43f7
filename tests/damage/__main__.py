"""Print ``docs/bad_input.md``."""

from tests.damage import page

print(page(), end="")
