"""What knows gunicorn."""
