"""The seed's audio contest: tags of a clip from its log-mel spectrogram, and an f-score that one argument of a fit can halve."""
