"""The variants of the LSTM: how fast they train (speed.py), and what they are for on real work (the other files)."""
