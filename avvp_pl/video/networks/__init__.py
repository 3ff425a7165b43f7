"""The pretrained networks: modules with the names of the weights that are published for them."""
