"""Who watches: the request log and the metrics."""
