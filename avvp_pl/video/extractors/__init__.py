"""The extractors, one a file: each turns the sound or the pictures of a video into one stream of features."""
