"""People across titles: who of one title is who of another, and who looks like a photograph."""
