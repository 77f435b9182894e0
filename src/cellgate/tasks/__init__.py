"""What is learned: target, readout, loss, metric and baseline of each task, one file a task."""
