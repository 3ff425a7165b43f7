"""The page that parses a video which is dropped on it: uploads, the process with the model, and the server."""
