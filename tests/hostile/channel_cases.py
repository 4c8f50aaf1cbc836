"""Wire cases 32 to 55: credit, channels, acknowledgement."""
CHANNEL_CASES = []
