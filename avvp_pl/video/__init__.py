"""Video files: decoding, the sound and the pictures of a clip, and extractors, which turn them into features."""
