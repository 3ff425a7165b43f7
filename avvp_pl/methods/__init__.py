"""The methods, one LightningModule a file. To add one, write ``training_step`` on top of ``ParsingModule``."""
