"""The HTTP door: the API, progress streams and the studio page, over :mod:`jobs.desk` alone."""
