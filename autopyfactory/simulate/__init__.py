"""Stand-ins for the outside world: a PanDA to play with, for the demo, for tests, and for the curious."""
