"""Videos as features: read from folders in LLP layout or generated, and gathered into batches."""
