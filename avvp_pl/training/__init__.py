"""Training: the one LightningModule, its optimization, and the callbacks that say when things happen."""
