"""What the factory's speed rests on, measured as ratios within one run; see README.md in this folder."""
