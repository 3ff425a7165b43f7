"""The formats of one timeline, one a module. Each has ``write(timeline, folder)``: the text of a file in a folder."""
