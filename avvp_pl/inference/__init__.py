"""From a network's output to timelines: what is tested (inferences), and the gates that decide."""
