"""Stand-ins for the outside world: a PanDA to play with, and model sites on which demand is replayed."""
