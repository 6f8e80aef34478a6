"""Photos of people who are signed in: their results, and what they chose to keep."""
